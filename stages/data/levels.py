"""Levels of a clip: peak, clipping, loudness and the gain to a target, resampling, and the noise below the speech."""

from __future__ import annotations

import math

import numpy as np

SILENCE_DB = -60.0
"""peak, in dB of full scale, below which a sound is silence"""
QUANTISATION_DB = 10 * math.log10(1 / (12 * 32768**2))
"""power of the rounding to 16 bits in dB of full scale (uniform error, q² / 12): no noise is below it"""
_BLOCK = 0.4
"""seconds of a gating block of ITU-R BS.1770-4"""


def decibel(amplitude: float) -> float:
    """Amplitude in dB of full scale; 0 is raised to -200 dB."""
    return 20 * math.log10(max(amplitude, 1e-10))


def amplitude(level: float) -> float:
    """The factor that a level in dB stands for."""
    return float(10 ** (level / 20))


def resampled(samples: np.ndarray, rate: int, to: int) -> np.ndarray:
    """(L,) float32 at another rate: soxr's high quality, band-limited and of linear phase; equal rates change nothing.

    (soxr is librosa's default; here it took a fifth of the time of torchaudio's sinc resampling.)
    """
    if rate == to:
        return samples
    import soxr

    return np.asarray(soxr.resample(samples, rate, to, quality="HQ"), dtype=np.float32)


def clipped_share(channels: np.ndarray, ceiling: float) -> float:
    """Share of the samples of (L, C) that are stuck at full scale, of the channel where it is largest.

    Clipping flattens a peak: three or more equal samples in a row at or above `ceiling`. A wave that only touches full
    scale has no such run. Clipping that was scaled down later is not seen.
    """
    if len(channels) < 3:
        return 0.0
    same = np.diff(channels, axis=0) == 0
    high = np.abs(channels) >= ceiling
    middle = high[1:-1] & same[:-1] & same[1:]
    flat = np.zeros(channels.shape, dtype=bool)
    for shift in range(3):
        flat[shift : len(flat) - 2 + shift] |= middle
    return float(flat.mean(axis=0).max())


def loudness(samples: np.ndarray, rate: int) -> tuple[float | None, str]:
    """Integrated loudness of (L,) in LUFS (ITU-R BS.1770-4, pyloudnorm), and a note's name or ''.

    A clip shorter than one gating block of 0.4 s is taken as one block (`short_loudness`). None with `no_loudness` when
    every block is below the gate of -70 LUFS.
    """
    import pyloudnorm

    short = len(samples) <= _BLOCK * rate
    block = len(samples) / rate * (1 - 1e-9) if short else _BLOCK  # it refuses a block that is longer by a rounding
    meter = pyloudnorm.Meter(rate, block_size=block)
    with np.errstate(divide="ignore", invalid="ignore"):  # pyloudnorm takes the logarithm of silent blocks
        value = float(meter.integrated_loudness(samples.astype(np.float64)))
    if not math.isfinite(value):
        return None, "no_loudness"
    return value, "short_loudness" if short else ""


def gain(lufs: float | None, target: float | None, peak_db: float, most_peak_db: float) -> tuple[float, str]:
    """Gain in dB that brings a clip to the target loudness with its peak at or below `most_peak_db`; and a note or ''.

    Without a loudness or a target the level stays, unless the clip cannot be stored so.
    """
    if lufs is None or target is None:
        return (-peak_db, "lowered") if peak_db > 0 else (0.0, "")
    wanted, room = target - lufs, most_peak_db - peak_db
    return (room, "gain_limited") if wanted > room else (wanted, "")


def to_int16(samples: np.ndarray, gain_db: float) -> np.ndarray:
    """(L,) float32 times a gain as int16, rounded to nearest; 16-bit sound without gain comes back exactly."""
    scaled = samples if gain_db == 0 else samples * np.float32(amplitude(gain_db))
    return np.clip(np.rint(scaled * np.float32(32768)), -32768, 32767).astype("<i2")


def snr(levels: np.ndarray, speech: np.ndarray) -> float | None:
    """Signal-to-noise ratio in dB from frame powers, with the frames that are no speech as noise.

    Args:
        levels: (F,) power of every frame in dB of full scale.
        speech: (F,) whether it is speech.

    Returns:
        10 log10((P_speech - P_noise) / P_noise); None without five frames of each, or when the noise is the louder.
    """
    if speech.sum() < 5 or (~speech).sum() < 5:
        return None
    power = 10 ** (np.maximum(levels, QUANTISATION_DB) / 10)
    noise = float(power[~speech].mean())
    signal = float(power[speech].mean()) - noise
    return 10 * math.log10(signal / noise) if signal > 0 else None
