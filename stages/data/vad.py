"""Where speech is: WebRTC's voice activity detector on 30 ms frames, with a level gate and hysteresis.

Only what lies before the first and after the last speech is ever cut; pauses within stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stages.core.types import PAUSE
from stages.data.levels import QUANTISATION_DB, resampled, to_int16

RATE = 16000
"""samples per second that the detector hears"""
FRAME = 480
"""samples of a frame: 30 ms"""
MODE = 1
"""0 (keeps most) to 3 (drops most); 1 keeps the weak consonants at the ends of a clean recording"""
GATE_DB = 3.0
"""a frame of speech is so far above the quietest frames: steady noise is taken for speech until WebRTC's model of it
has settled, which takes most of a second"""
TAIL_DB = 6.0
"""beyond what was detected, frames so far above the noise still belong to the speech: stops, fricatives, breath"""
LEAST_DB = -65.0
"""dB of full scale; quieter frames are never a tail"""
_CLOSE = 0.02
"""seconds; timings that end so near the end of the sound end with it"""
Detector = Callable[[np.ndarray], np.ndarray]
"""(L,) int16 at RATE -> (L // FRAME,) bool, whether each frame is speech"""


@dataclass(frozen=True)
class Speech:
    """What was found in a sound."""

    span: tuple[float, float] | None
    """seconds where the first speech starts and the last one ends; None = no speech"""
    frames: np.ndarray
    """(F,) bool, whether each 30 ms is speech"""
    levels: np.ndarray
    """(F,) power in dB of full scale"""


def webrtc(samples: np.ndarray) -> np.ndarray:
    """The detector of WebRTC (py-webrtcvad) in mode MODE; it is anew for every sound, for it adapts to its noise."""
    import webrtcvad

    vad, data = webrtcvad.Vad(MODE), samples.astype("<i2").tobytes()
    width = 2 * FRAME
    return np.array([vad.is_speech(data[i : i + width], RATE) for i in range(0, len(data) - width + 1, width)], bool)


def find_speech(samples: np.ndarray, rate: int, detector: Detector = webrtc) -> Speech:
    """Looks for speech in (L,) float32 samples.

    Speech starts with a frame that opens three of four frames of speech, and ends with one that closes three of four.
    """
    heard = resampled(samples, rate, RATE)
    heard = np.pad(heard, (0, -len(heard) % FRAME))
    scale = min(1.0, 0.99 / max(float(np.abs(heard).max(initial=0.0)), 1e-9))  # floats may pass full scale
    levels = frame_levels(heard)
    if not len(levels):
        return Speech(None, np.zeros(0, bool), levels)
    floor = float(np.percentile(levels, 5))
    frames = detector(to_int16(heard * np.float32(scale), 0.0))
    if float(levels.max()) > floor + 2 * GATE_DB:  # else all of it is as loud, and there is no noise to gate
        frames = frames & (levels > floor + GATE_DB)
    ends = _ends(frames)
    if ends is None:
        return Speech(None, frames, levels)
    first, last = _with_tails(*ends, levels, max(floor + TAIL_DB, LEAST_DB))
    seconds = len(samples) / rate
    return Speech((first * FRAME / RATE, min((last + 1) * FRAME / RATE, seconds)), frames, levels)


def frame_levels(samples: np.ndarray) -> np.ndarray:
    """(L // FRAME,) power of every frame in dB of full scale, not below that of 16-bit rounding."""
    cut = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    power = np.square(cut, dtype=np.float64).mean(axis=1)
    return 10 * np.log10(np.maximum(power, 10 ** (QUANTISATION_DB / 10)))


def _ends(frames: np.ndarray) -> tuple[int, int] | None:
    """First and last frame of speech, by hysteresis."""
    need = min(3, len(frames))
    count = np.convolve(frames.astype(int), np.ones(4, int))  # count[i] = speech among frames i - 3 .. i
    opens = np.flatnonzero(frames & (count[3:] >= need))
    closes = np.flatnonzero(frames & (count[: len(frames)] >= need))
    return (int(opens[0]), int(closes[-1])) if len(opens) and len(closes) else None


def _with_tails(first: int, last: int, levels: np.ndarray, above: float) -> tuple[int, int]:
    """The span with the loud frames beside it; a gap of one frame (the closure of a stop) is bridged."""
    loud = levels > above

    def reach(place: int, step: int) -> int:
        while True:
            near = [place + step * k for k in (1, 2) if 0 <= place + step * k < len(loud) and loud[place + step * k]]
            if not near:
                return place
            place = near[0]

    return reach(first, -1), reach(last, 1)


def kept_span(
    span: tuple[float, float], seconds: float, padding: float, phones: tuple[tuple[str, float], ...] = ()
) -> tuple[float, float]:
    """The seconds that stay when a sound is trimmed: speech and every known phone that is no pause, with padding."""
    first, last = span
    start = 0.0
    for symbol, end in phones:
        if symbol != PAUSE:
            first, last = min(first, start), max(last, end)
        start = end
    return max(first - padding, 0.0), min(last + padding, seconds)


def shifted(phones: tuple[tuple[str, float], ...], start: float, seconds: float) -> tuple[tuple[str, float], ...]:
    """Phone timings of a sound that was cut to `seconds` from `start` on; what ends before it is gone.

    The last phone ends with the sound; a pause is added where the timings end earlier.
    """
    moved = [(symbol, round(min(end - start, seconds), 4)) for symbol, end in phones if end - start > 1e-4]
    out: list[tuple[str, float]] = []
    for symbol, end in moved:
        if not out or end > out[-1][1]:
            out.append((symbol, end))
    if out and (out[-1][0] == PAUSE or seconds - out[-1][1] < _CLOSE):
        out[-1] = (out[-1][0], round(seconds, 4))
    elif out:
        out.append((PAUSE, round(seconds, 4)))
    return tuple(out)
