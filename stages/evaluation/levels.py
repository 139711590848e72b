"""Levels of a clip, and the one check that every measure of sound starts with: is there anything to measure?"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from stages.core.hearing import RATE, SILENCE
from stages.core.types import Audio
from stages.data import levels

FRAME = RATE // 100
"""samples of a frame of 10 ms"""
PAUSE_DB = 40.0
"""a frame so far below the loud frames of its clip is silence"""
CEILING = 0.999
"""amplitude at which a flat peak is clipping: full scale of 16 bits, but for rounding"""


class NotMeasurable(ValueError):
    """A clip that a measure cannot give a number for; the message is the reason, short enough for a table."""


def sound(audio: Audio | None) -> np.ndarray:
    """(L,) float32 at RATE. Raises NotMeasurable: missing, empty, not finite, or silent (peak below -60 dB)."""
    if audio is None:
        raise NotMeasurable("no sound")
    if audio.samples.size == 0:
        raise NotMeasurable("the sound is empty")
    if not np.isfinite(audio.samples).all():
        raise NotMeasurable("the sound holds samples that are not numbers")
    if np.abs(audio.samples).max() < SILENCE:
        raise NotMeasurable("the sound is silent (its peak is below -60 dB)")
    return levels.resampled(np.asarray(audio.samples, np.float32), audio.sample_rate, RATE)


def content(audio: Audio | None) -> list[str | int]:
    """What identifies a clip in a key: sha256 of its samples, and its rate; [] for none."""
    if audio is None:
        return []
    return [hashlib.sha256(np.ascontiguousarray(audio.samples, "<f4").tobytes()).hexdigest(), audio.sample_rate]


@dataclass(frozen=True)
class Levels:
    """How loud a clip is and how much of it is silence."""

    seconds: float
    peak_db: float
    """dB of full scale; above 0 it will be clipped when it is written"""
    clipped: float
    """share of the samples that are stuck at or above full scale"""
    loudness: float | None
    """LUFS (ITU-R BS.1770-4); None when every block is below its gate of -70 LUFS"""
    silence: float
    """share of the 10 ms frames that are PAUSE_DB below the loud ones"""
    lead: float
    """seconds of silence at the start"""
    tail: float
    """seconds of silence at the end"""
    longest_pause: float
    """seconds of the longest silence between two sounds"""


def measure_levels(audio: Audio | None) -> Levels:
    """Levels of a clip at its own rate. Raises NotMeasurable."""
    heard = sound(audio)
    assert audio is not None
    samples = np.asarray(audio.samples, np.float32)
    loudness, _ = levels.loudness(samples, audio.sample_rate)
    silent = quiet_frames(heard)
    loud = np.flatnonzero(~silent)
    gaps = np.diff(loud) - 1
    return Levels(
        samples.size / audio.sample_rate,
        levels.decibel(float(np.abs(samples).max())),
        max(levels.clipped_share(samples[:, None], CEILING), float((np.abs(samples) > 1.0).mean())),
        loudness,
        float(silent.mean()),
        float(loud[0]) * FRAME / RATE,
        float(len(silent) - 1 - loud[-1]) * FRAME / RATE,
        float(gaps.max(initial=0)) * FRAME / RATE,
    )


def frame_levels(samples: np.ndarray) -> np.ndarray:
    """(L,) at RATE -> (ceil(L / FRAME),) RMS of 10 ms frames in dB of full scale, -200 for digital silence."""
    padded = np.pad(samples.astype(np.float64), (0, -len(samples) % FRAME))
    power = np.square(padded).reshape(-1, FRAME).mean(axis=1)
    return 10 * np.log10(np.maximum(power, 1e-20))


def speech_level(frames: np.ndarray) -> float:
    """dB of the loud frames of a clip: the mean power of the loudest tenth, which pauses do not change much."""
    loudest = np.sort(frames)[-max(1, math.ceil(len(frames) / 10)) :]
    return float(10 * np.log10(np.mean(10 ** (loudest / 10))))


def quiet_frames(samples: np.ndarray) -> np.ndarray:
    """(L,) at RATE -> (F,) bool, whether each 10 ms is silence; gain does not matter. One at least is not."""
    frames = frame_levels(samples)
    return frames < min(speech_level(frames) - PAUSE_DB, float(frames.max()))
