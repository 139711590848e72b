"""The Fréchet distance equals theory and scipy's root, survives singular covariances, and refuses too few vectors."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import spearmanr

from stages.core.artifacts import MemoryStore
from stages.core.types import Audio
from stages.core.voices import load_voice
from stages.evaluation.distribution import distance_of_sets, frechet_distance, windows
from stages.evaluation.levels import NotMeasurable

RNG = np.random.default_rng(0)


def test_a_shift_is_its_square():
    one = RNG.normal(0, 1, (500, 4))
    assert frechet_distance(one, one) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(one, one + 3.0) == pytest.approx(4 * 9.0, rel=1e-9)
    assert frechet_distance(one, one * 2.0 - one.mean(0)) == pytest.approx(np.var(one, axis=0, ddof=1).sum(), rel=1e-6)


def test_equal_to_the_matrix_root():
    one, two = RNG.normal(0, 1, (200, 6)) @ RNG.normal(0, 1, (6, 6)), RNG.normal(1, 2, (150, 6))
    first, second = np.cov(one, rowvar=False), np.cov(two, rowvar=False)
    root = np.trace(np.real(sqrtm(first @ second)))
    wanted = np.square(one.mean(0) - two.mean(0)).sum() + np.trace(first) + np.trace(second) - 2 * root
    assert frechet_distance(one, two) == pytest.approx(wanted, rel=1e-8)
    assert frechet_distance(two, one) == pytest.approx(wanted, rel=1e-8)


def test_singular_covariances_give_no_nan():
    one, two = RNG.normal(0, 1, (50, 8)), RNG.normal(0, 1, (50, 8))
    one[:, 3:], two[:, 5] = 0.0, 1.0
    assert 0.0 <= frechet_distance(one, two) < 20.0


def test_ladder_of_drift():
    one = RNG.normal(0, 1, (300, 16))
    drifts = [0.0, 0.1, 0.2, 0.4, 0.8, 1.6]
    found = [frechet_distance(one, one * (1 + d) + d) for d in drifts]
    assert spearmanr(drifts, found).statistic >= 0.95


def test_too_few_are_refused_with_the_number_needed():
    with pytest.raises(NotMeasurable, match=r"8 windows .* too few .*\(9 needed\)"):
        frechet_distance(RNG.normal(0, 1, (8, 8)), RNG.normal(0, 1, (30, 8)))
    with pytest.raises(NotMeasurable, match="0 windows"):
        distance_of_sets(["silent"], ["silent"])


def test_bad_vectors_are_refused():
    with pytest.raises(ValueError, match="one size"):
        frechet_distance(np.zeros((9, 2)), np.zeros((9, 3)))
    with pytest.raises(ValueError, match="not numbers"):
        frechet_distance(np.full((9, 2), np.nan), np.zeros((9, 2)))


def test_windows_of_clips_are_kept():
    store, clips = MemoryStore(), [load_voice("slt").clip, None, Audio(np.zeros(16000, np.float32), 16000)]
    first = windows(clips, store=store)
    assert first[0].shape[1] == 256 and len(first[0]) >= 2 and first[1] == "no sound" and "silent" in first[2]
    again = windows(clips, store=store)
    assert np.array_equal(first[0], again[0]) and again[1:] == first[1:]
