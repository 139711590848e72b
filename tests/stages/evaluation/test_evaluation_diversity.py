"""Diversity is 0 for the same clip again, grows with what differs, and is not made of failed seeds."""

import numpy as np
import pytest

from stages.core.types import Audio
from stages.evaluation.diversity import diversity
from stages.evaluation.levels import NotMeasurable


def buzz(f0, seconds=1.0):
    phase = 2 * np.pi * f0 * np.arange(int(16000 * seconds)) / 16000
    return Audio((0.1 * sum(np.sin(k * phase) / k for k in range(1, 15))).astype(np.float32), 16000)


def test_the_same_again_has_none():
    found = diversity([buzz(120)] * 3)
    assert (found.clips, found.mcd, found.duration_cv, found.pitch_spread, found.unvoiced) == (3, 0.0, 0.0, 0.0, 0)


def test_pitch_and_tempo_are_told_apart():
    tempo, pitch = diversity([buzz(120), buzz(120, 1.2)]), diversity([buzz(120), buzz(150)])
    assert tempo.duration_cv == pytest.approx(np.std([1.0, 1.2], ddof=1) / 1.1)
    assert tempo.pitch_spread < 0.01 and pitch.duration_cv == 0.0
    assert pitch.pitch_spread == pytest.approx(np.log(150 / 120) / np.sqrt(2), rel=0.02)
    assert pitch.mcd > tempo.mcd


def test_unvoiced_clips_are_counted():
    noise = Audio(np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32), 16000)
    found = diversity([buzz(120), noise])
    assert found.pitch_spread is None and found.unvoiced == 1


def test_one_clip_or_a_failed_seed_is_refused():
    with pytest.raises(NotMeasurable, match="two seeds"):
        diversity([buzz(120)])
    with pytest.raises(NotMeasurable, match="seed 1 of 2: no sound"):
        diversity([buzz(120), None])
