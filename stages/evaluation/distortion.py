"""Distortion against a reference: mel-cepstral distortion after DTW, frame-aligned mel L1, duration ratio."""

from __future__ import annotations

import math

import numpy as np

from stages.core.audio import AudioSpec, mel_spectrogram
from stages.core.types import Audio

COEFFICIENTS = 13
"""cepstral coefficients 1 to 13; the 0th, the level, is left out"""
RANGE_DB = 60.0
"""mel values further below the loudest of their clip are raised to that floor: inaudible, and gain must not matter"""
DECIBELS = 10.0 / math.log(10.0) * math.sqrt(2.0)
"""the usual constant: dB per unit of cepstral distance, where ln magnitude = sum of c_n cos(n w)"""


def log_mel(audio: Audio, spec: AudioSpec) -> np.ndarray:
    """(T, M) ln of the mel magnitudes, from the one mel function. Raises ValueError for no sound or another rate."""
    import torch

    if audio.samples.size == 0:
        raise ValueError("there is no sound to measure")
    if audio.sample_rate != spec.sample_rate:
        raise ValueError(f"the sound has {audio.sample_rate} samples per second, the mel is made at {spec.sample_rate}")
    with torch.inference_mode():
        mel = mel_spectrogram(torch.from_numpy(np.array(audio.samples, np.float32)), spec)
    return natural(mel.numpy().T, spec)


def natural(frames: np.ndarray, spec: AudioSpec) -> np.ndarray:
    """Stored (normalised) mel frames (T, M) in natural-log units."""
    return np.asarray(frames * spec.scale + spec.mean, dtype=np.float64)


def cepstra(log_mels: np.ndarray) -> np.ndarray:
    """(T, M) ln mel magnitudes -> (T, 13) coefficients c_1…c_13, where ln magnitude = sum of c_n cos(n w)."""
    import librosa

    floor = log_mels.max() - RANGE_DB / 20.0 * math.log(10.0)
    raised = np.maximum(log_mels, floor)
    coefficients = librosa.feature.mfcc(S=raised.T, n_mfcc=COEFFICIENTS + 1, dct_type=2, norm="ortho")
    return coefficients[1:].T * math.sqrt(2.0 / log_mels.shape[1])  # from the orthonormal DCT to the cosine series


def mel_cepstral_distortion(first: np.ndarray, second: np.ndarray) -> float:
    """MCD in dB between two (T, M) ln mels (Kubichek 1993), the mean over the path of dynamic time warping.

    Every frame counts, pauses too. 0 for the same sound at any gain.
    """
    one, two = cepstra(first), cepstra(second)
    path = _path(one, two)
    distance = np.linalg.norm(one[path[:, 0]] - two[path[:, 1]], axis=1)
    return float(DECIBELS * distance.mean())


def warping_path(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(S, 2) int64: frames of two (T, M) ln mels that lie side by side, in order, on the path that MCD goes."""
    return _path(cepstra(first), cepstra(second))


def _path(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    import librosa

    _, path = librosa.sequence.dtw(one.T, two.T, metric="euclidean")
    return path[::-1]


def mel_l1(first: np.ndarray, second: np.ndarray) -> float:
    """Mean absolute difference of two (T, M) ln mels, frame by frame. Raises ValueError when the lengths differ."""
    if first.shape != second.shape:
        raise ValueError(f"mel L1 is for frames that lie side by side, not {first.shape} and {second.shape}")
    return float(np.abs(first - second).mean())


def duration_ratio(audio: Audio, reference: Audio) -> float:
    """Seconds of `audio` over seconds of `reference`."""
    return (audio.samples.size / audio.sample_rate) / (reference.samples.size / reference.sample_rate)
