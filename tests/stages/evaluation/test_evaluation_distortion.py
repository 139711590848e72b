"""MCD is 0 for the same, deaf to gain, equal to theory, and grows with noise; mel L1 wants frames side by side."""

import math

import numpy as np
import pytest
from scipy.fft import dct

from stages.core.audio import AudioSpec
from stages.core.types import Audio
from stages.evaluation.distortion import (
    duration_ratio,
    log_mel,
    mel_cepstral_distortion,
    mel_l1,
    natural,
)

SPEC = AudioSpec()


def mel(samples):
    return log_mel(Audio(samples.astype(np.float32), 16000), SPEC)


def test_same_sound_is_zero(speech):
    one = mel(speech)
    assert mel_cepstral_distortion(one, one) == 0.0 and mel_l1(one, one) == 0.0


def test_gain_is_ignored_by_mcd_and_seen_by_l1(speech):
    one = mel(speech)
    assert mel_cepstral_distortion(one, one + 0.7) < 1e-6
    assert mel_l1(one, one + 0.7) == pytest.approx(0.7)


def test_mcd_is_the_rms_difference_in_db():
    """ln magnitude + a cos(3 w) is c_3 + a: by Parseval 20 / ln 10 * a / sqrt(2) dB."""
    one = np.random.default_rng(0).normal(0, 0.01, (1, 80))
    wave = 0.2 * np.cos(math.pi * 3 * (np.arange(80) + 0.5) / 80)
    assert mel_cepstral_distortion(one, one + wave) == pytest.approx(20 / math.log(10) * 0.2 / math.sqrt(2), rel=1e-6)


def test_mcd_equals_an_independent_one(speech):
    """DCT by scipy and DTW by hand, within 1 %."""
    rng = np.random.default_rng(2)
    first, second = mel(speech), mel(speech[2000:] + rng.normal(0, 0.01, 14000))

    def cepstra(x):
        raised = np.maximum(x, x.max() - 3 * math.log(10))
        return dct(raised, type=2, axis=1)[:, 1:14] / 80

    a, b = cepstra(first), cepstra(second)
    cost = np.linalg.norm(a[:, None] - b[None], axis=2)
    total = np.full((len(a) + 1, len(b) + 1), np.inf)
    steps = np.zeros_like(total)
    total[0, 0] = 0
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            at = min(((i - 1, j - 1), (i, j - 1), (i - 1, j)), key=lambda p: total[p])
            total[i, j], steps[i, j] = total[at] + cost[i - 1, j - 1], steps[at] + 1
    expected = 10 / math.log(10) * math.sqrt(2) * total[-1, -1] / steps[-1, -1]
    assert mel_cepstral_distortion(first, second) == pytest.approx(expected, rel=0.01)


def test_mcd_and_l1_climb_with_noise(speech):
    rng, clean = np.random.default_rng(1), mel(speech)
    noise = rng.normal(0, 1, speech.size)
    noisy = [mel(speech + level * noise) for level in (0.0, 0.001, 0.003, 0.01, 0.03, 0.1)]
    for measure in (mel_cepstral_distortion, mel_l1):
        ladder = [measure(clean, other) for other in noisy]
        assert ladder == sorted(ladder) and len(set(ladder)) == len(ladder)


def test_dtw_forgives_tempo(speech):
    clean = mel(speech)
    slower = np.repeat(clean, 2, axis=0)
    assert mel_cepstral_distortion(clean, slower) < 1e-6
    with pytest.raises(ValueError, match="side by side"):
        mel_l1(clean, slower)


def test_units_and_lengths(speech):
    assert natural(np.zeros((2, 80), np.float32), SPEC) == pytest.approx(SPEC.mean)
    one = Audio(speech, 16000)
    assert duration_ratio(Audio(speech[:8000], 16000), one) == 0.5
    with pytest.raises(ValueError, match="no sound"):
        log_mel(Audio(np.zeros(0, np.float32), 16000), SPEC)
    with pytest.raises(ValueError, match="22050 samples per second"):
        log_mel(Audio(speech, 22050), SPEC)
