"""The phone judge: the best monotonic path."""

import math

import pytest
import torch

from stages.rerank.judges import best_paths


def log_probs(places, symbols=6, right=0.9):
    """(N, symbols) that name `places` with probability `right`."""
    out = torch.full((len(places), symbols), (1 - right) / (symbols - 1))
    out[torch.arange(len(places)), torch.tensor(places)] = right
    return out.log()


def best_path(log_probs, asked):
    return best_paths(log_probs[None], [len(log_probs)], asked)[0]


def test_speech_that_says_the_phones_scores_its_own_certainty():
    asked = torch.tensor([1, 3, 5, 1])
    assert best_path(log_probs([1, 1, 3, 3, 3, 5, 5, 1]), asked) == pytest.approx(math.log(0.9), abs=1e-6)


def test_order_matters():
    asked = torch.tensor([1, 3, 5, 2, 4, 1])
    right = best_path(log_probs([1, 3, 3, 5, 5, 2, 2, 4, 4, 1]), asked)
    swapped = best_path(log_probs([1, 2, 2, 4, 4, 3, 3, 5, 5, 1]), asked)
    missing = best_path(log_probs([1, 3, 3, 5, 5, 1, 1]), asked)
    assert right > missing and right > swapped + 0.5


def test_too_few_codes_for_the_phones_have_no_path():
    assert best_path(log_probs([1, 1]), torch.arange(20) % 6) == -math.inf


def test_each_candidate_has_the_score_it_has_alone():
    generator = torch.Generator().manual_seed(0)
    lengths = [30, 41, 1, 12, 37]
    rows = torch.randn(5, 41, 6, generator=generator).log_softmax(-1)
    asked = torch.arange(14) % 6
    together = best_paths(rows, lengths, asked)
    assert together == [best_path(row[:n], asked) for row, n in zip(rows, lengths, strict=True)]
    assert together[2] == -math.inf and together[0] > -math.inf
