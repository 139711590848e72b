"""Judges of the sound: what each measures in one candidate, and how it scores all candidates of a sentence.

Higher scores are better, as those of `judges.py`. Two functions and one line in LISTENERS each (and its name in
`config.py`). Packages are imported when something is heard.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.hearing import count, hear_pocketsphinx, normalise, pcm
from stages.core.speakers import embed
from stages.core.types import PAUSE, Audio, Heard, Phonemes, Voice

CER_SHARE = 0.1
"""of the character error rate in the score: it decides between candidates with as many words wrong"""
PHONE_SECONDS, PAUSE_SECONDS = 0.084, 0.168
"""mean lengths in 18 240 sentences that flite's rms, awb and slt read (their timings; a sentence's length is within
8 % of what these say, one standard deviation)"""
PRIOR_CANDIDATES = 2
"""candidates that the expectation from the phones counts for, beside what the real ones say of the voice's tempo"""

MOST_VOICES = 64


@dataclass(frozen=True)
class Listener:
    """One judge of the sound."""

    hear: Callable[[Phonemes, Voice, Audio], Heard]
    score: Callable[[Sequence[Heard]], list[float]]
    """of every candidate of one sentence, higher is better"""
    passes: Callable[[Sequence[Heard], float], list[bool]]
    """by candidate, whether it is within a threshold"""


def hear_words(phonemes: Phonemes, voice: Voice, audio: Audio) -> Heard:
    """Word and character error rate of what pocketsphinx hears, against the words that were to be spoken.

    Raises:
        ValueError: there are none.
    """
    data = pcm(audio)
    heard = normalise(hear_pocketsphinx(data)) if data else ""
    counts = count(normalise(" ".join(word.spoken for word in phonemes.words)), heard)
    wer, cer = counts.word_errors / counts.words, counts.character_errors / counts.characters
    return Heard({"wer": wer, "cer": cer}, heard)


def score_words(heard: Sequence[Heard]) -> list[float]:
    """1 - WER, less a tenth of the CER."""
    return [1.0 - h.measures["wer"] - CER_SHARE * h.measures["cer"] for h in heard]


def hear_speaker(phonemes: Phonemes, voice: Voice, audio: Audio) -> Heard:
    """Cosine of the speaker embeddings of sound and voice clip; -1, the least there is, for sound without speech."""
    if voice.digest not in _voices:
        if len(_voices) == MOST_VOICES:
            _voices.clear()
        _voices[voice.digest] = embed(voice.clip)
    found, wanted = embed(audio), _voices[voice.digest]
    return Heard({"similarity": -1.0 if found is None or wanted is None else float(found @ wanted)})


_voices: dict[str, np.ndarray | None] = {}
"""embeddings of the voices' clips, by digest"""


def score_speaker(heard: Sequence[Heard]) -> list[float]:
    """The cosine."""
    return [h.measures["similarity"] for h in heard]


def hear_clock(phonemes: Phonemes, voice: Voice, audio: Audio) -> Heard:
    """Seconds of sound, and those that the phones and pauses of the sentence take on average."""
    pauses = phonemes.symbols.count(PAUSE)
    usual = PHONE_SECONDS * (len(phonemes.symbols) - pauses) + PAUSE_SECONDS * pauses
    return Heard({"seconds": audio.samples.size / audio.sample_rate, "usual_seconds": usual})


def deviations(heard: Sequence[Heard]) -> list[float]:
    """|log(seconds / expected seconds)| by candidate.

    Expected is the median of the candidates, for they know the voice's tempo, drawn towards what the phones say as if
    PRIOR_CANDIDATES more had that length: so few candidates that are all wrong do not pass for right.
    """
    lengths = [math.log(h.measures["seconds"]) for h in heard]
    prior = math.log(heard[0].measures["usual_seconds"])
    expected = (len(lengths) * statistics.median(lengths) + PRIOR_CANDIDATES * prior) / (
        len(lengths) + PRIOR_CANDIDATES
    )
    return [abs(length - expected) for length in lengths]


def _at_most(measure: Callable[[Sequence[Heard]], list[float]]) -> Callable[[Sequence[Heard], float], list[bool]]:
    return lambda heard, threshold: [value <= threshold for value in measure(heard)]


LISTENERS: dict[str, Listener] = {
    "asr": Listener(hear_words, score_words, _at_most(lambda heard: [h.measures["wer"] for h in heard])),
    "similarity": Listener(
        hear_speaker, score_speaker, lambda heard, threshold: [s >= threshold for s in score_speaker(heard)]
    ),
    "duration": Listener(hear_clock, lambda heard: [-d for d in deviations(heard)], _at_most(deviations)),
}
