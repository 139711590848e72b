"""Faults of synthesis that a mean hides: dead, truncated, looping, stuck, clipped or broken by long pauses.

Each fault comes with what was measured. The thresholds lie between flite's speech and the same speech with a fault
put into it; `tests/bench/bench_detectors.py` prints recall and false alarms.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.core.audio import AudioSpec
from stages.core.hearing import RATE
from stages.core.types import PAUSE, Audio, Phonemes
from stages.evaluation.distortion import DECIBELS, cepstra, log_mel
from stages.evaluation.levels import NotMeasurable, frame_levels, measure_levels, sound, speech_level

END_FRAMES = 3
"""frames of 10 ms at the end of a clip that tell whether it was cut off"""
END_DB = -40.5
"""dB beside the loud frames; whole flite speech ends below -42 in 71 clips, cut speech above -39.2 but in pauses"""
FINE = AudioSpec(n_fft=512, hop=80)
"""frames of 5 ms: a repetition falls between two frames of a coarser mel"""
REPEATED = 0.25
"""seconds that must come again to be a loop"""
LAGS = (0.2, 6.0)
"""seconds from one time to the next that are looked for"""
ALIKE_DB = 1.6
"""cepstral distortion below which two stretches are copies: 2.0 and more between any two of flite speech, 1.2 and less
between copies"""
SPOKEN = 0.6
"""share of a stretch that must not be silence, which always repeats"""
ACTIVE_DB = 43.0
"""frames so far below the loudest are silence"""
STUCK = 0.6
"""seconds; the longest phone of flite speech has 0.35"""
SQUEEZED = (3, 0.062)
"""last phones of the text, and the mean seconds below which the aligner had no sound left for them: speech slows down
at its end, to 83 ms or more in flite, and what is not there gets the aligner's least, 30 ms"""
LONG_PAUSE = 1.0
"""seconds of silence within speech"""
CLIPPED = 1e-3
"""share of the samples"""
LOST_WORDS = 3
"""last words of the text that the recogniser must all miss: it misses one or two of good speech"""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a clip, and what was measured."""

    name: str
    """`dead`, `truncated`, `text_missing`, `loop`, `stuck`, `clipped` or `long_pause`"""
    detail: str


def find_faults(
    audio: Audio | None, phonemes: Phonemes | None = None, reference: str = "", transcript: str | None = None
) -> list[Fault]:
    """All faults of one clip; [] for a sound one.

    Args:
        phonemes: what was to be said; with them the text is aligned with the sound (`text_missing`, `stuck`).
        reference: normalised words that were to be said, for `transcript`.
        transcript: normalised words that a recogniser heard; None = none listened.
    """
    try:
        samples = sound(audio)
    except NotMeasurable as error:
        return [Fault("dead", str(error))]
    found = [*_by_signal(audio, samples), *([] if phonemes is None else _by_alignment(samples, phonemes))]
    if transcript is not None and reference:
        found += _by_words(reference, transcript)
    names = [fault.name for fault in found]
    return [fault for number, fault in enumerate(found) if fault.name not in names[:number]]


def _by_signal(audio: Audio | None, samples: np.ndarray) -> list[Fault]:
    found, levels = [], measure_levels(audio)
    end = end_level(samples)
    if end > END_DB:
        found.append(Fault("truncated", f"its last {10 * END_FRAMES} ms are {-end:.0f} dB below its speech"))
    repeat = find_repeat(samples)
    if repeat is not None and repeat.distance < ALIKE_DB:
        found.append(Fault("loop", f"at {repeat.start:.2f} s comes again {repeat.lag:.2f} s later"))
    if levels.longest_pause > LONG_PAUSE:
        found.append(Fault("long_pause", f"{levels.longest_pause:.1f} s of silence within it"))
    if levels.clipped > CLIPPED:
        found.append(Fault("clipped", f"{100 * levels.clipped:.1f} % of its samples are at full scale"))
    return found


def end_level(samples: np.ndarray) -> float:
    """dB of the loudest of the last END_FRAMES frames beside the loud frames of the clip; (L,) at RATE."""
    frames = frame_levels(samples[len(samples) % (RATE // 100) :])  # whole frames at the end
    return float(frames[-END_FRAMES:].max()) - speech_level(frames) if frames.size else 0.0


@dataclass(frozen=True)
class Repeat:
    """The two stretches of REPEATED seconds that are most alike."""

    distance: float
    """mean cepstral distortion in dB"""
    start: float
    """seconds"""
    lag: float
    """seconds from the first to the second"""


def find_repeat(samples: np.ndarray) -> Repeat | None:
    """The best repetition in (L,) at RATE, by distortion of cepstra at every lag; None when the clip is too short.

    Stretches that are silence by more than 1 - SPOKEN do not count.
    """
    if samples.size < RATE * (LAGS[0] + REPEATED):
        return None
    mel = log_mel(Audio(samples, RATE), FINE)
    values, loudest = cepstra(mel), mel.max(axis=1)
    active = loudest > loudest.max() - ACTIVE_DB / 20 * np.log(10)
    width = int(REPEATED * FINE.frame_rate)
    best: Repeat | None = None
    for lag in range(int(LAGS[0] * FINE.frame_rate), min(int(LAGS[1] * FINE.frame_rate), len(values) - width) + 1):
        distance = _moving_mean(np.linalg.norm(values[lag:] - values[:-lag], axis=1), width)
        spoken = _moving_mean((active[lag:] & active[:-lag]).astype(float), width)
        distance = np.where(spoken >= SPOKEN, distance, np.inf) * DECIBELS
        at = int(distance.argmin())
        if distance[at] < (best.distance if best else np.inf):
            best = Repeat(float(distance[at]), at / FINE.frame_rate, lag / FINE.frame_rate)
    return best


def _moving_mean(values: np.ndarray, width: int) -> np.ndarray:
    total = np.concatenate([[0.0], np.cumsum(values)])
    return (total[width:] - total[:-width]) / width


def _by_alignment(samples: np.ndarray, phonemes: Phonemes) -> list[Fault]:
    from stages.data.aligners import NotAligned

    try:
        timings = _aligner()(samples, phonemes)
    except NotAligned as error:
        return [Fault("text_missing", str(error))]
    starts = [0.0, *(end for _, end in timings)]
    spoken = [
        (phone, begin, end - begin) for (phone, end), begin in zip(timings, starts, strict=False) if phone != PAUSE
    ]
    found = [
        Fault("stuck", f"{p} at {begin:.2f} s lasts {length:.2f} s") for p, begin, length in spoken if length > STUCK
    ]
    count, least = SQUEEZED
    mean = float(np.mean([length for _, _, length in spoken[-count:]]))
    if len(spoken) >= count and mean < least:
        found.append(
            Fault("text_missing", f"its last {count} phones have {1000 * mean:.0f} ms each: its end is not said")
        )
    return found


@functools.lru_cache(maxsize=1)
def _aligner() -> Any:
    from stages.data.aligners import AlignConfig, make_aligner

    return make_aligner(AlignConfig())


def _by_words(reference: str, transcript: str) -> list[Fault]:
    lost, repeats = lost_words(reference, transcript), extra_repeats(reference, transcript)
    found = []
    if lost >= LOST_WORDS:
        found.append(Fault("text_missing", f"its last {lost} words were not heard"))
    if repeats:
        phrase, times = max(repeats.items(), key=lambda item: len(item[0]) * item[1])
        found.append(Fault("loop", f"{' '.join(phrase)!r} was heard {times} times too often in a row"))
    return found


def lost_words(reference: str, transcript: str) -> int:
    """How many words at the end of the reference have nothing in the transcript (jiwer's alignment)."""
    import jiwer

    last = jiwer.process_words(reference, transcript).alignments[0][-1]
    return last.ref_end_idx - last.ref_start_idx if last.type == "delete" else 0


def extra_repeats(reference: str, transcript: str, longest: int = 6) -> dict[tuple[str, ...], int]:
    """Phrases of the transcript that come again at once more often than in the reference, and how often.

    One word must come twice too often: a recogniser that stammers once is no loop.
    """
    said, heard = (_in_a_row(text.split(), longest) for text in (reference, transcript))
    extra = {phrase: times - said[phrase] for phrase, times in heard.items()}
    return {phrase: times for phrase, times in extra.items() if times >= (2 if len(phrase) == 1 else 1)}


def _in_a_row(words: Sequence[str], longest: int) -> Counter[tuple[str, ...]]:
    """How often every phrase of up to `longest` words follows itself."""
    found: Counter[tuple[str, ...]] = Counter()
    for size in range(1, min(longest, len(words) // 2) + 1):
        for start in range(len(words) - 2 * size + 1):
            phrase = tuple(words[start : start + size])
            if phrase == tuple(words[start + size : start + 2 * size]):
                found[phrase] += 1
    return found
