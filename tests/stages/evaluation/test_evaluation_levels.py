"""Levels: exact values of made sounds, gain is seen where it should be only, and what cannot be measured says why."""

import numpy as np
import pytest

from stages.core.types import Audio
from stages.evaluation.levels import NotMeasurable, content, frame_levels, measure_levels, sound, speech_level


def tone(seconds, amplitude=0.5, rate=16000):
    return (amplitude * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def silence(seconds, rate=16000):
    return np.zeros(int(seconds * rate), np.float32)


PIECES = np.concatenate([silence(0.2), tone(1.0), silence(0.3), tone(1.0), silence(0.5)])


def test_silence_of_made_sound():
    found = measure_levels(Audio(PIECES, 16000))
    assert found.silence == pytest.approx(1.0 / 3.0, abs=0.01)
    assert (found.lead, found.tail) == pytest.approx((0.2, 0.5), abs=0.011)
    assert found.longest_pause == pytest.approx(0.3, abs=0.011)
    assert found.seconds == 3.0 and found.clipped == 0.0
    assert found.peak_db == pytest.approx(-6.02, abs=0.01)


def test_gain_moves_level_and_nothing_else():
    one, other = (measure_levels(Audio(PIECES * gain, 16000)) for gain in (1.0, 0.25))
    assert one.loudness - other.loudness == pytest.approx(12.04, abs=0.05)
    assert (one.silence, one.lead, one.tail, one.longest_pause) == (
        other.silence, other.lead, other.tail, other.longest_pause,
    )  # fmt: skip


def test_clipping_climbs():
    shares = [measure_levels(Audio(np.clip(tone(1.0, a), -1, 1), 16000)).clipped for a in (0.9, 1.1, 1.5, 3.0)]
    assert shares[0] == 0.0 and shares == sorted(shares) and len(set(shares)) == 4
    assert measure_levels(Audio(tone(1.0, 1.5), 16000)).clipped > 0.3  # what is written is clipped


def test_another_rate_is_resampled():
    found = measure_levels(Audio(tone(1.0, rate=22050), 22050))
    assert found.seconds == 1.0 and found.tail < 0.02


def test_frame_levels_and_speech_level():
    assert frame_levels(np.full(320, 0.1, np.float32)) == pytest.approx(-20.0, abs=1e-4)
    assert frame_levels(np.zeros(160)) == pytest.approx(-200.0)
    assert speech_level(np.array([-200.0] * 9 + [-12.0])) == pytest.approx(-12.0)


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (None, "no sound"),
        (Audio(np.zeros(0, np.float32), 16000), "empty"),
        (Audio(np.zeros(1600, np.float32), 16000), "silent"),
        (Audio(np.full(1600, 1e-4, np.float32), 16000), "below -60 dB"),
        (Audio(np.array([0.1, np.nan], np.float32), 16000), "not numbers"),
        (Audio(np.array([0.1, np.inf], np.float32), 16000), "not numbers"),
    ],
)
def test_nothing_to_measure_says_why(audio, reason):
    with pytest.raises(NotMeasurable, match=reason):
        sound(audio)
    with pytest.raises(NotMeasurable, match=reason):
        measure_levels(audio)


def test_content_tells_sounds_apart():
    one = Audio(tone(0.1), 16000)
    assert content(one) == content(Audio(tone(0.1), 16000))
    others = [content(None), content(Audio(tone(0.1), 8000)), content(Audio(tone(0.1, 0.4), 16000))]
    assert content(one) not in others
