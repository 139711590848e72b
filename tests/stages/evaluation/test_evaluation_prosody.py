"""Pitch errors of made sounds have the values that they were made with; unvoiced sound says so and gives no NaN."""

import math

import numpy as np
import pytest

from stages.core.audio import AudioSpec
from stages.core.types import Audio
from stages.evaluation.levels import NotMeasurable
from stages.evaluation.prosody import mean_log_f0, pitch, prosody


def voiced(f0, seconds=1.2):
    """A buzz at f0 (Hz, or one for every sample) with pauses at both ends."""
    count = int(16000 * seconds)
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(f0, count)) / 16000
    buzz = sum(np.sin(k * phase) / k for k in range(1, 15))
    return Audio(np.pad(0.1 * buzz, 3200).astype(np.float32), 16000)


def noise(seconds=1.2):
    samples = np.random.default_rng(0).normal(0, 0.1, int(16000 * seconds))
    return Audio(np.pad(samples, 3200).astype(np.float32), 16000)


def test_same_sound_has_no_error():
    found = prosody(voiced(120.0), voiced(120.0))
    assert found.log_f0_rmse == 0.0 and found.voicing_error == 0.0 and found.both > 50


@pytest.mark.parametrize("semitones", [1, 4, -3])
def test_a_shift_is_its_own_rmse(semitones):
    found = prosody(voiced(120.0 * 2 ** (semitones / 12)), voiced(120.0))
    assert found.log_f0_rmse == pytest.approx(abs(semitones) * math.log(2) / 12, rel=0.05)


def test_gain_is_ignored():
    loud = voiced(150.0)
    quiet = Audio(loud.samples * 0.02, 16000)
    assert prosody(quiet, loud).log_f0_rmse == pytest.approx(0.0, abs=1e-3)
    assert (pitch(quiet, AudioSpec()) > 0).tolist() == (pitch(loud, AudioSpec()) > 0).tolist()


def test_unvoiced_is_said_and_counted():
    found = prosody(noise(), voiced(120.0))
    assert found.log_f0_rmse is None and "voiced together" in found.reason
    assert found.voicing_error > 0.5
    with pytest.raises(NotMeasurable, match="reference is hardly voiced"):
        prosody(voiced(120.0), noise())
    with pytest.raises(NotMeasurable, match="hardly voiced"):
        mean_log_f0(noise())


def test_mean_pitch():
    assert mean_log_f0(voiced(200.0)) == pytest.approx(math.log(200.0), abs=0.01)


def test_no_sound_and_other_rates():
    with pytest.raises(NotMeasurable, match="no sound"):
        prosody(None, voiced(120.0))
    with pytest.raises(ValueError, match="8000 samples per second"):
        pitch(Audio(voiced(120.0).samples, 8000), AudioSpec())
