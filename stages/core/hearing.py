"""A recogniser that listens, and the errors of what it heard: for evaluation, and for judges of candidates.

The stated normaliser (`normalise`) is applied to both sides: lower case, punctuation stripped (apostrophes within a
word stay), no folding of numbers or spellings. Error counts are jiwer's.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
import threading
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.core.config import ConfigError, near_miss
from stages.core.types import Audio

RATE = 16000
"""samples per second that the recogniser reads"""
SILENCE = 1e-3
"""peak amplitude (-60 dB of full scale) below which sound is silence: words would be heard in digital zeros"""
_NOT_WORD = re.compile(r"[^\w']+|_+")
_EDGE = re.compile(r"(?<!\w)'+|'+(?!\w)")


def normalise(text: str) -> str:
    """Lower-case words with single spaces between them; punctuation becomes a space, inner apostrophes stay."""
    plain = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'").replace("\u2018", "'")
    return " ".join(_EDGE.sub(" ", _NOT_WORD.sub(" ", plain)).split())


@dataclass(frozen=True)
class Recogniser:
    """Something that turns sound into words; `hear` is a module-level function: worker processes call it."""

    name: str
    hear: Callable[[bytes], str]
    """int16 mono at RATE, the bytes of one utterance -> what was said ('' = nothing)"""
    version: Callable[[], str]


@functools.lru_cache(maxsize=1)
def _decoder() -> Any:
    """The pocketsphinx decoder of this process: the en-us model, language model and dictionary of its wheel."""
    from pocketsphinx import Decoder

    return Decoder(samprate=RATE, cmn="batch", dither=False, loglevel="FATAL")


_listening = threading.Lock()
"""one utterance at a time in the decoder of a process"""


def hear_pocketsphinx(data: bytes) -> str:
    """What pocketsphinx hears in one utterance (int16 mono, RATE), whatever it heard before.

    Cepstral means are those of the utterance (`cmn: batch`, given whole); the features are set up anew each time, for
    the tracker of background noise otherwise remembers the utterance before and changes words.
    """
    with _listening:
        hypothesis = listened(_decoder(), data).hyp()
        return hypothesis.hypstr if hypothesis else ""


def listened(decoder: Any, data: bytes) -> Any:
    """A pocketsphinx decoder after one whole utterance (int16 mono, RATE) that nothing heard before can change."""
    decoder.reinit_feat()
    decoder.start_utt()
    try:
        decoder.process_raw(data, full_utt=True)
    finally:
        decoder.end_utt()
    return decoder


RECOGNISERS = {
    "pocketsphinx": Recogniser(
        "pocketsphinx", hear_pocketsphinx, lambda: f"pocketsphinx {importlib.metadata.version('pocketsphinx')} en-us"
    )
}


def recogniser(name: str) -> Recogniser:
    """The recogniser called `name`. Raises ConfigError when it is unknown or its package is not installed."""
    if name not in RECOGNISERS:
        raise ConfigError(f"unknown recogniser {name!r}{near_miss(name, RECOGNISERS)}")
    try:
        RECOGNISERS[name].version()
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError(f"recogniser {name!r} is not installed; run `uv sync`") from None
    return RECOGNISERS[name]


def pcm(audio: Audio | None) -> bytes:
    """int16 mono at RATE; b"" for missing, empty or silent sound.

    Raises:
        ValueError: samples that are not finite.
    """
    if audio is None or audio.samples.size == 0:
        return b""
    if not np.isfinite(audio.samples).all():
        raise ValueError("the sound holds samples that are not numbers")
    if np.abs(audio.samples).max() < SILENCE:
        return b""
    return (np.clip(_resampled(audio), -1.0, 1.0) * 32767).round().astype("<i2").tobytes()


def _resampled(audio: Audio) -> np.ndarray:
    if audio.sample_rate == RATE:
        return audio.samples
    import torch
    import torchaudio

    return torchaudio.functional.resample(torch.from_numpy(audio.samples.copy()), audio.sample_rate, RATE).numpy()


@dataclass(frozen=True)
class Counts:
    """Errors of one item against its reference; an error rate is errors over words (or characters), and may pass 1."""

    words: int
    word_errors: int
    characters: int
    character_errors: int


def count(reference: str, hypothesis: str) -> Counts:
    """Errors of one item, both sides normalised. Raises ValueError for a reference without words."""
    import jiwer

    if not reference:
        raise ValueError("a reference without words cannot be scored")
    words, characters = jiwer.process_words(reference, hypothesis), jiwer.process_characters(reference, hypothesis)
    return Counts(
        words.hits + words.substitutions + words.deletions,
        words.substitutions + words.deletions + words.insertions,
        characters.hits + characters.substitutions + characters.deletions,
        characters.substitutions + characters.deletions + characters.insertions,
    )
