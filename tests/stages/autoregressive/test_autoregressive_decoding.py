"""Sampling: one prefill for any k, candidates independent of their neighbours, faults marked."""

import pytest
import torch

from stages.autoregressive import decoding
from stages.autoregressive.config import AutoregressiveConfig
from stages.autoregressive.model import AutoregressiveDecoder, AutoregressiveModelConfig

PHONES = [1, 5, 9, 13, 17, 21, 8, 30, 1]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    tiny = AutoregressiveModelConfig(codes=50, width=32, depth=2, heads=2, conditioning_width=32)
    return AutoregressiveDecoder(tiny).eval()


def run(model, seeds, **settings):
    latents = torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(1))
    config = AutoregressiveConfig(**{"max_codes_per_phone": 4.0, **settings})
    with torch.inference_mode():
        return decoding.sample(model, PHONES, latents, seeds, config)


def test_a_candidate_does_not_depend_on_how_many_are_asked_for(model):
    eleven = run(model, list(range(11)))
    assert eleven[:3] == run(model, [0, 1, 2])
    assert eleven[9] == run(model, [9])[0]


def test_seeds_differ_and_repeat(model):
    first, second = run(model, [3, 4])
    assert first != second
    assert run(model, [3])[0] == first


def test_one_prefill_for_any_number_of_candidates(model, monkeypatch):
    calls, prefill = [], AutoregressiveDecoder.prefill
    monkeypatch.setattr(AutoregressiveDecoder, "prefill", lambda self, *a: calls.append(1) or prefill(self, *a))
    run(model, list(range(20)))
    assert len(calls) == 1


def test_the_guard_marks_what_it_cuts(model):
    sampled = run(model, list(range(8)), max_codes_per_phone=0.2)  # 2 codes cannot cover 9 phones at 3 phones a code
    assert all(len(s.codes) == 2 and "truncated" in s.faults for s in sampled)


def test_filter_keeps_the_best_and_respects_top_k_and_top_p():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    assert (decoding.filter_logits(logits, 1.0, 2, 1.0) > 0).tolist() == [[True, True, False, False]]
    assert (decoding.filter_logits(logits, 1.0, 0, 0.7) > 0).tolist() == [[True, True, False, False]]
    assert (decoding.filter_logits(logits, 1.0, 0, 1e-6) > 0).tolist() == [[True, False, False, False]]
    cold = decoding.filter_logits(logits, 0.01, 0, 1.0)
    assert cold[0, 0] > 0.999


def test_draw_follows_the_probabilities():
    p = torch.tensor([[0.2, 0.0, 0.8]]).expand(1000, -1)
    drawn = decoding.draw(p, torch.linspace(0, 0.999, 1000))
    assert abs(float((drawn == 0).float().mean()) - 0.2) < 0.01
    assert not bool((drawn == 1).any())


def test_repetition_penalty_lowers_what_was_said():
    logits = torch.tensor([[2.0, -1.0, 0.5]])
    assert decoding.penalise(logits, torch.tensor([[0, 1, 1]]), 2.0).tolist() == [[1.0, -2.0, 0.5]]


@pytest.mark.parametrize("pattern", [[7], [3, 9], [1, 2, 3, 4, 5]])
def test_loops_are_found(pattern):
    import random

    rng = random.Random(len(pattern))
    found = [
        decoding.has_loop([rng.randrange(1000) for _ in range(40)] + pattern * (24 // len(pattern) + 2))
        for _ in range(100)
    ]
    assert sum(found) >= 99


def test_speech_without_loops_is_not_marked():
    import random

    rng = random.Random(5)
    assert sum(decoding.has_loop([rng.randrange(40) for _ in range(150)]) for _ in range(200)) <= 2


def test_faults_name_what_is_wrong():
    phones = [1, 5, 9, 13, 1]
    good = decoding.find_faults([10, 20, 21, 30, 31, 40, 41, 50], [0, 1, 1, 2, 2, 3, 3, 4], phones, True)
    assert good == ()
    assert decoding.find_faults([10, 20, 21], [0, 1, 1], phones, False) == ("truncated", "too_short")
    stuck = decoding.find_faults(list(range(60)), [0] + [1] * 50 + [2] * 4 + [3] * 4 + [4], phones, True)
    assert stuck == ("loop",)
