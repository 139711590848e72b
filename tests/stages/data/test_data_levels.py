import numpy as np
import pytest

from stages.data import levels

RATE = 16000


def sine(seconds, hertz=997.0, peak=1.0, rate=RATE):
    return (peak * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def test_loudness_of_the_reference_tone():
    """BS.1770-4: a full-scale sine of 997 Hz in one channel is -3.01 LKFS."""
    value, note = levels.loudness(sine(3, rate=48000), 48000)
    assert value == pytest.approx(-3.01, abs=0.05) and note == ""


@pytest.mark.parametrize("samples", [160, 3001, 6399, 6400])
def test_a_clip_shorter_than_a_block_is_one_block(samples):
    value, note = levels.loudness(sine(1)[:samples], RATE)
    assert note == "short_loudness" and value == pytest.approx(-3.0, abs=1.5)


def test_what_is_below_the_gate_has_no_loudness():
    assert levels.loudness(sine(1, peak=1e-4), RATE) == (None, "no_loudness")
    assert levels.gain(None, -23.0, -80.0, -1.0) == (0.0, "")


@pytest.mark.parametrize("peak", [0.01, 0.3, 1.0, 1.7])
@pytest.mark.parametrize("lufs", [-40.0, -23.0, -10.0])
def test_gain_reaches_the_target_or_stops_at_the_peak(peak, lufs):
    db, note = levels.gain(lufs, -23.0, levels.decibel(peak), -1.0)
    assert peak * levels.amplitude(db) <= levels.amplitude(-1.0) * (1 + 1e-9)
    assert (note == "gain_limited") == (lufs + db < -23.0 - 1e-9)


def test_without_a_target_only_what_cannot_be_stored_is_lowered():
    assert levels.gain(-30.0, None, -6.0, -1.0) == (0.0, "")
    assert levels.gain(-10.0, None, 2.5, -1.0) == (-2.5, "lowered")


def test_16_bit_sound_comes_back_exactly():
    pcm = np.random.default_rng(0).integers(-32768, 32768, 5000).astype("<i2")
    assert (levels.to_int16(pcm.astype(np.float32) / 32768, 0.0) == pcm).all()


def test_clipping_is_runs_at_full_scale():
    clean, hard = sine(1), np.clip(sine(1, 100.0, peak=2.0), -1, 1)
    stuck = np.abs(sine(1, 100.0, peak=2.0)) >= 1
    assert levels.clipped_share(clean[:, None], 0.999) == 0
    assert levels.clipped_share(hard[:, None], 0.999) == pytest.approx(stuck.mean(), abs=2e-3)
    both = np.stack([clean, hard], axis=1)
    assert levels.clipped_share(both, 0.999) == levels.clipped_share(hard[:, None], 0.999)
    assert levels.clipped_share(np.ones((2, 1), np.float32), 0.999) == 0


def test_resampling_keeps_a_tone_and_its_length():
    out = levels.resampled(sine(1, 440.0, rate=44100), 44100, RATE)
    want = sine(1, 440.0)
    assert len(out) == RATE and np.abs(out[500:-500] - want[500:-500]).max() < 1e-3


def test_noise_to_speech_ratio():
    level, speech = np.array([-20.0] * 10 + [-50.0] * 10), np.arange(20) < 10
    assert levels.snr(level, speech) == pytest.approx(30.0, abs=0.01)
    assert levels.snr(level, np.ones(20, bool)) is None
    assert levels.snr(level, ~speech) is None
