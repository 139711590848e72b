"""Intelligibility: a real recogniser listens; word and character error rates are jiwer's, over the whole corpus.

The stated normaliser (`normalise`) is applied to both sides: lower case, punctuation stripped (apostrophes within a
word stay), no folding of numbers or spellings. The reference is the spoken form that the text stage was told to say.
Sound that is missing, empty or silent counts as nothing recognised: every word of its reference is an error.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from stages.core.artifacts import ArtifactStore
from stages.core.fingerprint import digest
from stages.core.hearing import (
    RATE,
    RECOGNISERS,
    SILENCE,
    Counts,
    Recogniser,
    count,
    hear_pocketsphinx,
    normalise,
    pcm,
)
from stages.core.types import Audio
from stages.evaluation.recognisers import recogniser

__all__ = ["RATE", "RECOGNISERS", "SILENCE", "Counts", "Recogniser", "count", "hear_pocketsphinx", "normalise", "pcm",
           "recogniser"]  # fmt: skip


def transcribe(
    clips: Sequence[Audio | None],
    by: Recogniser,
    workers: int = 1,
    store: ArtifactStore | None = None,
    advance: Callable[[int], None] = lambda more: None,
) -> list[str]:
    """What `by` hears in every clip, normalised, in order; '' where there is no sound.

    Args:
        workers: processes; with 1 (or few clips) this process listens itself. No result depends on it.
        store: transcripts by sound and recogniser are kept there, each as it is made, and not made again.
        advance: is told that so many more clips are done.
    """
    data = [pcm(clip) for clip in clips]
    keys = [digest(["transcript", by.version(), hashlib.sha256(d).hexdigest()]) for d in data]
    known = {key: "" if not d else _kept(store, key) for key, d in zip(keys, data, strict=True)}
    todo = {key: d for key, d in zip(keys, data, strict=True) if known[key] is None}
    advance(len(clips) - len(todo))
    for key, heard in zip(todo, _hear_all(by, list(todo.values()), workers), strict=True):
        known[key] = heard
        if store is not None:
            store.write(key, {}, {"type": "Transcript", "text": heard})
        advance(1)
    return [normalise(known[key] or "") for key in keys]


def _kept(store: ArtifactStore | None, key: str) -> str | None:
    entry = store.read(key) if store is not None and store.has(key) else None
    return str(entry[1]["text"]) if entry and entry[1].get("type") == "Transcript" else None


def _hear_all(by: Recogniser, data: list[bytes], workers: int) -> Iterator[str]:
    if workers <= 1 or len(data) < 2 * workers:
        yield from map(by.hear, data)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(by.hear, data)


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
