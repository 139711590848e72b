"""Intelligibility: a real recogniser listens; word and character error rates are jiwer's, over the whole corpus.

The stated normaliser (`normalise`) is applied to both sides: lower case, punctuation stripped (apostrophes within a
word stay), no folding of numbers or spellings. The reference is the spoken form that the text stage was told to say.
Sound that is missing, empty or silent counts as nothing recognised: every word of its reference is an error.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import multiprocessing
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.core.artifacts import ArtifactStore
from stages.core.config import ConfigError, near_miss
from stages.core.fingerprint import digest
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


def hear_pocketsphinx(data: bytes) -> str:
    """What pocketsphinx hears in one utterance (int16 mono, RATE), whatever it heard before.

    Cepstral means are those of the utterance (`cmn: batch`, given whole); the features are set up anew each time, for
    the tracker of background noise otherwise remembers the utterance before and changes words.
    """
    decoder = _decoder()
    decoder.reinit_feat()
    decoder.start_utt()
    try:
        decoder.process_raw(data, full_utt=True)
    finally:
        decoder.end_utt()
    hypothesis = decoder.hyp()
    return hypothesis.hypstr if hypothesis else ""


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


def transcribe(
    clips: Sequence[Audio | None], by: Recogniser, workers: int = 1, store: ArtifactStore | None = None
) -> list[str]:
    """What `by` hears in every clip, normalised, in order; '' where there is no sound.

    Args:
        workers: processes; with 1 (or few clips) this process listens itself. No result depends on it.
        store: transcripts by sound and recogniser are kept there and not made again.
    """
    data = [pcm(clip) for clip in clips]
    keys = [digest(["transcript", by.version(), hashlib.sha256(d).hexdigest()]) for d in data]
    known = {key: "" if not d else _kept(store, key) for key, d in zip(keys, data, strict=True)}
    todo = {key: d for key, d in zip(keys, data, strict=True) if known[key] is None}
    for key, heard in zip(todo, _hear_all(by, list(todo.values()), workers), strict=True):
        known[key] = heard
        if store is not None:
            store.write(key, {}, {"type": "Transcript", "text": heard})
    return [normalise(known[key] or "") for key in keys]


def _kept(store: ArtifactStore | None, key: str) -> str | None:
    entry = store.read(key) if store is not None and store.has(key) else None
    return str(entry[1]["text"]) if entry and entry[1].get("type") == "Transcript" else None


def _hear_all(by: Recogniser, data: list[bytes], workers: int) -> Iterable[str]:
    if workers <= 1 or len(data) < 2 * workers:
        return [by.hear(d) for d in data]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(by.hear, data))


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


def error_rates(counts: Sequence[Counts]) -> tuple[float, float]:
    """(WER, CER) over the corpus: all errors over all words (characters), as jiwer's for lists of texts."""
    words, characters = sum(c.words for c in counts), sum(c.characters for c in counts)
    return (
        sum(c.word_errors for c in counts) / words,
        sum(c.character_errors for c in counts) / characters,
    )


def _draws(items: int, draws: int, seed: int) -> np.ndarray:
    """(draws, items) indices with replacement; the same for every system on the same items, which pairs them."""
    return np.random.default_rng(seed).integers(0, items, (draws, items))


def _rates(counts: Sequence[Counts], index: np.ndarray) -> np.ndarray:
    errors, words = np.array([c.word_errors for c in counts]), np.array([c.words for c in counts])
    return errors[index].sum(axis=1) / words[index].sum(axis=1)


def wer_interval(counts: Sequence[Counts], seed: int, draws: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval of the WER over items (percentiles; Bisani & Ney 2004)."""
    low, high = np.percentile(_rates(counts, _draws(len(counts), draws, seed)), [2.5, 97.5])
    return float(low), float(high)


def mean_interval(values: Sequence[float], seed: int, draws: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval of a mean over items."""
    means = np.array(values)[_draws(len(values), draws, seed)].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def verdict(low: float, high: float) -> str:
    """`worse`, `better` or, when the interval of a difference of errors holds 0, `no difference`."""
    return "worse" if low > 0 else "better" if high < 0 else "no difference"


@dataclass(frozen=True)
class Difference:
    """WER of one system minus that of another on the same items."""

    wer: float
    low: float
    high: float
    """95 % paired bootstrap interval"""

    @property
    def verdict(self) -> str:
        """`worse`, `better`, or `no difference` when the interval holds 0."""
        return verdict(self.low, self.high)


def wer_difference(ours: Sequence[Counts], theirs: Sequence[Counts], seed: int, draws: int = 2000) -> Difference:
    """Paired: each draw takes the same items of both. Raises ValueError when the items are not the same."""
    if [c.words for c in ours] != [c.words for c in theirs]:
        raise ValueError("two systems can be compared on the same items only")
    index = _draws(len(ours), draws, seed)
    low, high = np.percentile(_rates(ours, index) - _rates(theirs, index), [2.5, 97.5])
    return Difference(error_rates(ours)[0] - error_rates(theirs)[0], float(low), float(high))


@dataclass(frozen=True)
class WordErrors:
    """One word of the references and how often it was not recognised."""

    word: str
    said: int
    wrong: int
    heard: tuple[tuple[str, int], ...]
    """what was recognised in its place ('' = nothing) and how often"""


def worst_words(references: Sequence[str], hypotheses: Sequence[str], most: int = 20) -> list[WordErrors]:
    """Words with the most errors first (substituted or deleted; insertions belong to no word)."""
    import jiwer

    said, wrong = Counter(word for text in references for word in text.split()), Counter[str]()
    heard: dict[str, Counter[str]] = {}
    result = jiwer.process_words(list(references), list(hypotheses))
    for number, chunks in enumerate(result.alignments):
        reference, hypothesis = result.references[number], result.hypotheses[number]
        for chunk in chunks:
            if chunk.type not in ("substitute", "delete"):
                continue
            for offset in range(chunk.ref_end_idx - chunk.ref_start_idx):
                word = reference[chunk.ref_start_idx + offset]
                instead = hypothesis[chunk.hyp_start_idx + offset] if chunk.type == "substitute" else ""
                wrong[word] += 1
                heard.setdefault(word, Counter())[instead] += 1
    order = sorted(wrong, key=lambda w: (-wrong[w], w))[:most]
    return [WordErrors(w, said[w], wrong[w], tuple(heard[w].most_common(3))) for w in order]
