"""Pitch against a reference: log-F0 RMSE and voicing error along the path of dynamic time warping."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stages.core.audio import AudioSpec
from stages.core.types import Audio
from stages.data.features import steady_pitch
from stages.evaluation.distortion import log_mel, warping_path
from stages.evaluation.levels import NotMeasurable, sound

PEAK = 0.5
"""amplitude that a clip's peak is brought to before pitch is tracked, whose gate is an absolute level"""
PERIODIC = 0.5
"""correlation with itself a period later that a voiced frame has at least: YIN alone finds steady stretches in noise"""
LEAST = 10
"""voiced frames without which nothing is said of pitch"""


@dataclass(frozen=True)
class Prosody:
    """Pitch of a clip against that of its reference, over pairs of frames on the path."""

    log_f0_rmse: float | None
    """RMSE of ln F0 where both are voiced (0.0578 = a semitone); None when they are voiced together too seldom. The
    path is not exact: flite a fifth slower, with the same pitch, has 0.025"""
    reason: str
    """why log_f0_rmse is None, else ''"""
    voicing_error: float
    """share of the pairs where one is voiced and the other is not"""
    both: int
    """pairs where both are voiced"""


def pitch(audio: Audio | None, spec: AudioSpec) -> np.ndarray:
    """(T,) Hz by YIN, 0 where there is no steady pitch, on the frames of the mel; gain does not matter.

    Raises:
        NotMeasurable: nothing to hear. ValueError: the sound is not at the rate of `spec`.
    """
    sound(audio)
    assert audio is not None
    if audio.sample_rate != spec.sample_rate:
        raise ValueError(f"the sound has {audio.sample_rate} samples per second, the mel is made at {spec.sample_rate}")
    samples = np.asarray(audio.samples, np.float32)
    samples = samples * (PEAK / np.abs(samples).max())
    found = np.asarray(steady_pitch(samples, spec), dtype=np.float64)
    return np.where(_periodicity(samples, found, spec) > PERIODIC, found, 0.0)


def _periodicity(samples: np.ndarray, f0: np.ndarray, spec: AudioSpec) -> np.ndarray:
    """(T,) correlation of each frame with itself one period of f0 (T,) later; 0 where f0 is 0."""
    out = np.zeros(len(f0))
    half = spec.n_fft // 2
    padded = np.pad(samples.astype(np.float64), half + spec.hop)
    for t in np.flatnonzero(f0 > 0):
        middle = t * spec.hop + spec.hop // 2 + half + spec.hop
        window, period = padded[middle - half : middle + half], round(spec.sample_rate / f0[t])
        one, two = window[:-period], window[period:]
        out[t] = one @ two / max(math.sqrt(float(one @ one) * float(two @ two)), 1e-12)
    return out


def prosody(audio: Audio | None, reference: Audio | None, spec: AudioSpec | None = None) -> Prosody:
    """Pitch and voicing of `audio` against `reference`, both at the rate of `spec`. Raises as `pitch` does."""
    spec = spec or AudioSpec()
    ours, theirs = pitch(audio, spec), pitch(reference, spec)
    assert audio is not None and reference is not None
    if (theirs > 0).sum() < LEAST:
        raise NotMeasurable("the reference is hardly voiced")
    path = warping_path(log_mel(audio, spec), log_mel(reference, spec))
    one, two = ours[path[:, 0]], theirs[path[:, 1]]
    both = (one > 0) & (two > 0)
    error = float(((one > 0) != (two > 0)).mean())
    if both.sum() < LEAST:
        return Prosody(None, f"voiced together in {both.sum()} frames only", error, int(both.sum()))
    rmse = math.sqrt(float(np.mean(np.square(np.log(one[both] / two[both])))))
    return Prosody(rmse, "", error, int(both.sum()))


def mean_log_f0(audio: Audio | None, spec: AudioSpec | None = None) -> float:
    """Mean ln F0 (Hz) of the voiced frames. Raises NotMeasurable when fewer than LEAST are voiced, and as `pitch`."""
    found = pitch(audio, spec or AudioSpec())
    voiced = found[found > 0]
    if voiced.size < LEAST:
        raise NotMeasurable("the sound is hardly voiced")
    return float(np.log(voiced).mean())
