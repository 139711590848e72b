"""Decoding: a candidate is its text, voice and seed alone, whatever is decoded beside it; what is drawn is right."""

import random

import pytest
import torch

from stages.autoregressive import decoding, sampling
from stages.autoregressive.config import AutoregressiveConfig
from stages.autoregressive.decoding import Request
from stages.autoregressive.faults import find_faults, has_loop
from stages.autoregressive.model import AutoregressiveDecoder, AutoregressiveModelConfig
from stages.autoregressive.stage import AutoregressiveStage
from stages.autoregressive.tiles import safe_slots


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    config = AutoregressiveModelConfig(codes=150, width=32, depth=2, heads=2, conditioning_width=32)
    return AutoregressiveDecoder(config).eval()


@pytest.fixture(scope="module")
def starter():
    return AutoregressiveStage.load(AutoregressiveConfig(), "cpu").model


def request_for(model, number, seeds):
    """A text and a voice of its own for each number, 6 to 30 phones long."""
    rng = random.Random(number)
    phones = [1, *(rng.randrange(2, 40) for _ in range(4 + number * 7 % 25)), 1]
    latents = torch.randn(1, 4, model.config.width, generator=torch.Generator().manual_seed(number))
    return Request(phones, latents, [1000 * number + s for s in seeds])


def sizes(model):
    return safe_slots(model, decoding.SLOTS, decoding.MOST_SLOTS, decoding.ROWS)


def decode(model, requests, **settings):
    config = AutoregressiveConfig(**{"max_codes_per_phone": 2.0, **settings})
    with torch.inference_mode():
        return decoding.sample(model, requests, config, sizes(model))[0]


def alone(model, request, **settings):
    return decode(model, [request], **settings)[0]


@pytest.mark.parametrize("size", [3, 7, 33])
@pytest.mark.parametrize("settings", [{}, {"temperature": 1.5, "top_k": 40, "repetition_penalty": 1.3}])
def test_neighbours_change_nothing(tiny, size, settings):
    requests = [request_for(tiny, n, range([1, 4, 6, 8, 16][n % 5])) for n in range(size)]
    random.Random(size).shuffle(requests)
    assert decode(tiny, requests, **settings) == [alone(tiny, r, **settings) for r in requests]


@pytest.mark.parametrize("size", [3, 7])
def test_neighbours_change_nothing_with_the_starter_weights(starter, size):
    requests = [request_for(starter, n, range(8)) for n in range(size)]
    together = decode(starter, requests)
    assert decode(starter, requests[::-1])[::-1] == together
    assert alone(starter, requests[size // 2]) == together[size // 2]


@pytest.mark.slow
def test_neighbours_change_nothing_in_a_large_batch_of_the_starter(starter):
    requests = [request_for(starter, n, range([4, 8, 16][n % 3])) for n in range(33)]
    together = decode(starter, requests, max_codes_per_phone=6.0)
    random.Random(0).shuffle(order := list(range(33)))
    shuffled = decode(starter, [requests[n] for n in order], max_codes_per_phone=6.0)
    assert shuffled == [together[n] for n in order]
    assert [alone(starter, r, max_codes_per_phone=6.0) for r in requests] == together


def test_a_candidate_does_not_depend_on_how_many_are_asked_for(starter):
    sixteen = alone(starter, request_for(starter, 3, range(16)))
    assert all(len({tuple(s.codes) for s in sixteen[a : a + 4]}) > 1 for a in (0, 4, 8, 12))
    for seeds in ([0], range(4), range(8), [9, 2, 15], [5, 5]):
        assert alone(starter, request_for(starter, 3, seeds)) == [sixteen[s] for s in seeds]


def test_every_code_says_which_phone_it_is_a_part_of(starter):
    request = request_for(starter, 3, range(4))
    for candidate in alone(starter, request):
        places = candidate.places
        assert len(places) == len(candidate.codes) and places[0] == 0 and places == sorted(places)
        assert places[-1] < len(request.phones)


@pytest.mark.parametrize("row", [0, decoding.ROWS - 1])
def test_every_place_in_the_tile_gives_the_same_bytes(starter, row):
    wanted = alone(starter, request_for(starter, 2, [7]))[0]
    for slot in range(max(sizes(starter))):
        before = [request_for(starter, 7, [n]) for n in range(slot)]  # longer, so they start first
        seeds = [*range(50, 50 + row), 7]
        together = decode(starter, [*before, request_for(starter, 2, seeds)])
        assert together[-1][row] == wanted


def test_every_safe_tile_gives_the_bytes_of_the_usual_one(starter):
    request, config = request_for(starter, 5, range(8)), AutoregressiveConfig(max_codes_per_phone=2.0)
    with torch.inference_mode():
        full = decoding.sample(starter, [request], config)[0]
        for slots in sizes(starter):
            assert decoding.sample(starter, [request], config, (slots,))[0] == full


def test_a_size_that_rounds_differently_is_not_safe(tiny, monkeypatch):
    forward = torch.nn.Linear.forward

    def another_kernel(self, x):
        return forward(self, x) + (1e-7 if len(x) == 3 * decoding.ROWS else 0.0)

    monkeypatch.setattr(torch.nn.Linear, "forward", another_kernel)
    found = sizes(tiny)
    assert 3 not in found and decoding.SLOTS in found


def test_one_prefill_for_any_number_of_candidates(tiny, monkeypatch):
    calls, prefill = [], AutoregressiveDecoder.prefill
    monkeypatch.setattr(AutoregressiveDecoder, "prefill", lambda self, *a: calls.append(1) or prefill(self, *a))
    alone(tiny, request_for(tiny, 1, range(20)))
    assert len(calls) == 1


@pytest.mark.parametrize("codes_per_phone", [0.2, 0.5, 1.0])
def test_the_guard_marks_what_it_cuts(tiny, codes_per_phone):
    request = request_for(tiny, 2, range(6))  # 20 phones
    sampled = alone(tiny, request, max_codes_per_phone=codes_per_phone, duration_temperature=1e-3)
    cut = [s for s in sampled if len(s.codes) == codes_per_phone * len(request.phones)]
    assert cut and all("truncated" in s.faults for s in cut)
    assert max(len(s.codes) for s in sampled) <= codes_per_phone * len(request.phones)


def test_work_counts_every_row_and_every_code(tiny):
    requests = [request_for(tiny, n, range(8)) for n in range(12)]
    with torch.inference_mode():
        sampled, work = decoding.sample(tiny, requests, AutoregressiveConfig(max_codes_per_phone=2.0))
    assert work.useful == sum(len(s.codes) for own in sampled for s in own) < work.steps
    assert work.steps % (decoding.SLOTS * decoding.ROWS) == 0 and 0 < work.waste < 1
    assert decoding.sample(tiny, [], AutoregressiveConfig()) == ([], decoding.Work())


def test_log_prob_is_the_models_own(tiny):
    request = request_for(tiny, 4, [0])
    sampled = alone(tiny, request, temperature=0.7)[0]
    uniform = -torch.tensor(float(tiny.config.codes)).log()
    assert abs(sampled.log_prob - float(uniform)) < 0.5  # untrained: nearly uniform


def test_filter_keeps_the_best_and_respects_top_k_and_top_p():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    assert (sampling.filter_logits(logits, 1.0, 2, 1.0) > 0).tolist() == [[True, True, False, False]]
    assert (sampling.filter_logits(logits, 1.0, 0, 0.7) > 0).tolist() == [[True, True, False, False]]
    assert (sampling.filter_logits(logits, 1.0, 0, 1e-6) > 0).tolist() == [[True, False, False, False]]
    cold = sampling.filter_logits(logits, 0.01, 0, 1.0)
    assert cold[0, 0] > 0.999


@pytest.mark.parametrize("sharpness", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("top_p", [0.1, 0.9, 0.999])
def test_the_nucleus_is_that_of_sorting_everything(sharpness, top_p):
    logits = sharpness * torch.randn(16, 1000, generator=torch.Generator().manual_seed(3))
    logits += 1e-4 * torch.arange(1000)  # no ties
    found = sampling.filter_logits(logits, 1.0, 0, top_p) > 0
    ordered, index = logits.softmax(-1).sort(-1, descending=True)
    inside = ordered.cumsum(-1) - ordered < top_p
    assert torch.equal(found, torch.zeros_like(found).scatter(-1, index, inside))


def test_a_flat_row_does_not_change_the_nucleus_of_a_sharp_one():
    sharp = 4 * torch.randn(3, 1000, generator=torch.Generator().manual_seed(3))
    beside = sampling.filter_logits(torch.cat((sharp, torch.zeros(1, 1000))), 0.5, 0, 0.9)
    assert torch.equal(beside[:3], sampling.filter_logits(sharp, 0.5, 0, 0.9))
    assert (beside[3] > 0).all()  # equally likely codes stay together


def test_draw_follows_the_probabilities():
    p = torch.tensor([[0.2, 0.0, 0.8]]).expand(1000, -1)
    drawn = sampling.draw(p, torch.linspace(0, 0.999, 1000))
    assert abs(float((drawn == 0).float().mean()) - 0.2) < 0.01
    assert not bool((drawn == 1).any())


def test_repetition_penalty_lowers_what_was_said():
    logits = torch.tensor([[2.0, -1.0, 0.5]])
    assert sampling.penalise(logits, torch.tensor([[0, 1, 1]]), 2.0).tolist() == [[1.0, -2.0, 0.5]]
    assert sampling.penalise(logits, torch.tensor([[3, 3, 3]]), 2.0).tolist() == logits.tolist()  # 3 = nothing yet


@pytest.mark.parametrize("pattern", [[7], [3, 9], [1, 2, 3, 4, 5]])
def test_loops_are_found(pattern):
    rng = random.Random(len(pattern))
    found = [
        has_loop([rng.randrange(1000) for _ in range(40)] + pattern * (24 // len(pattern) + 2)) for _ in range(100)
    ]
    assert sum(found) >= 99


def test_speech_without_loops_is_not_marked():
    rng = random.Random(5)
    assert sum(has_loop([rng.randrange(40) for _ in range(150)]) for _ in range(200)) <= 2


def test_faults_name_what_is_wrong():
    phones = [1, 5, 9, 13, 1]
    good = find_faults([10, 20, 21, 30, 31, 40, 41, 50], [0, 1, 1, 2, 2, 3, 3, 4], phones, True)
    assert good == ()
    assert find_faults([10, 20, 21], [0, 1, 1], phones, False) == ("truncated", "too_short")
    stuck = find_faults(list(range(60)), [0] + [1] * 50 + [2] * 4 + [3] * 4 + [4], phones, True)
    assert stuck == ("loop",)
