"""Signs of trouble: each is given when it should be, once, and not by a healthy run."""

import math
import re

import numpy as np
import pytest

from stages.training.signs import Signs


def feed(rows):
    signs, given = Signs(), []
    for kind, values in rows:
        given += [(name, text) for name, text in signs.watch(kind, values).items()]
    return given


def trained(losses, **more):
    return [("train", {"code": loss, **more}) for loss in losses]


def test_a_healthy_run_gives_no_sign():
    rng = np.random.default_rng(0)
    rows = []
    for n in range(200):
        rows += trained([5 * math.exp(-n / 80) + 1 + rng.normal() * 0.05], _discriminator=0.4, _skipped=0.02)
        if n % 10 == 0:
            rows += [
                ("valid", {"code": 5 * math.exp(-n / 80) + 1.2, "codes_used": min(0.3 + n / 50, 0.97), "loops": 0.1})
            ]
    assert feed(rows) == []


@pytest.mark.parametrize(
    "name, rows, said",
    [
        ("dead_codebook", [("valid", {"codes_used": c}) for c in (0.9, 0.3, 0.3)], "only 30% .* most was 90%"),
        ("saturated_discriminators", trained([1.0] * 5, _discriminator=0.001), "lower objective.discriminator_lr"),
        ("loss_spike", trained([1.0] * 10 + [2.5]), "2.5 where 1 was usual"),
        ("plateau", trained([1.0] * 60), "stays at 1 for many rows"),
        (
            "overfitting",
            [*trained([1.0]), *(("valid", {"code": v, "accuracy": v}) for v in (2.0, 2.3, 2.3, 2.3))],
            "code of held-out utterances is 2.3 and was 2",
        ),
        ("loops", [("valid", {"loops": 0.5})] * 3, "50% of the sampled utterances are stuck"),
        ("overflow", trained([1.0], _skipped=0.8), "80% of the steps were skipped"),
    ],
)  # fmt: skip
def test_each_sign_is_given_once(name, rows, said):
    given = feed(rows + rows[-1:] * 3)
    assert [n for n, _ in given] == [name]
    assert re.search(said, given[0][1]) and "\n" not in given[0][1]


def test_slow_progress_is_no_plateau():
    assert feed(trained([1.0 - 0.001 * n for n in range(300)])) == []


def test_new_terms_are_no_spike():
    quiet = [("train", {"mel": 1.0 - n / 1000}) for n in range(30)]
    loud = [("train", {"mel": 0.9 - n / 1000, "adversarial": 3.0, "matching": 2.0}) for n in range(30)]
    assert feed(quiet + loud) == []


def test_replay_says_nothing_twice_and_forgets_what_came_after_the_step():
    rows = [{"kind": "valid", "step": 5, "seconds": 1.0, "codes_used": 0.9},
            {"kind": "sign", "step": 8, "seconds": 1.0, "sign": "loops", "text": "…"},
            {"kind": "valid", "step": 20, "seconds": 2.0, "codes_used": 1.0}]  # fmt: skip
    signs = Signs()
    signs.replay(rows, until=10)
    assert signs.best_codes == 0.9 and signs.said == {"loops"}
    assert [signs.watch("valid", {"loops": 1.0}) for _ in range(4)] == [{}] * 4
    assert signs.watch("valid", {"codes_used": 0.4}) == {}
    assert list(signs.watch("valid", {"codes_used": 0.4})) == ["dead_codebook"]


def test_one_bad_row_among_good_ones_is_no_sign():
    assert feed([("valid", {"loops": v, "codes_used": c}) for v, c in ((1, 0.1), (0, 0.9)) * 9]) == []
