"""Phone errors: what pocketsphinx's phone loop hears against the phones that were to be said; which are worst.

No words and no language model of words help the listener, so that a word which is recognised from its context alone
counts no phone as right. The phone loop is a weak listener: clean flite speech itself has a phone error rate far from
0 (see `tests/bench/bench_detectors.py`), so compare with the teacher's, never with 0.
"""

from __future__ import annotations

import functools
import importlib.metadata
import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from stages.core.artifacts import ArtifactStore
from stages.core.config import ConfigError
from stages.core.fingerprint import digest
from stages.core.hearing import RATE, listened, pcm
from stages.core.types import PAUSE, Audio
from stages.evaluation.levels import content

VERSION = 1
FOLD = {"ax": "ah"}
"""phones that the recogniser's set does not tell apart"""
NOISES = frozenset({"sil"})


@functools.lru_cache(maxsize=1)
def _decoder() -> Any:
    """A loop over all phones with the phone trigrams of the wheel (its `allphone` search)."""
    from pocketsphinx import Config, Decoder, get_model_path

    config = Config(samprate=RATE, cmn="batch", dither=False, loglevel="FATAL")
    config["lm"], config["dict"] = None, None
    config["allphone"] = get_model_path("en-us/en-us-phone.lm.bin")
    config["lw"], config["beam"], config["pbeam"] = 2.0, 1e-20, 1e-20
    return Decoder(config)


_listening = threading.Lock()
"""one utterance at a time in the decoder of a process"""


def hear_phones(data: bytes) -> tuple[str, ...]:
    """Phones (lower case ARPAbet, no pauses) heard in one utterance (int16 mono, RATE), whatever was heard before."""
    with _listening:
        found = [segment.word.lower() for segment in listened(_decoder(), data).seg() or []]
    return tuple(p for p in found if p not in NOISES and not p.startswith("+"))


def check_phones() -> str:
    """The version of the listener. Raises ConfigError when pocketsphinx is not installed."""
    try:
        return f"pocketsphinx {importlib.metadata.version('pocketsphinx')} allphone, own {VERSION}"
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError("phone errors need the package pocketsphinx, which is not installed; run `uv sync`") from None


def heard_phones(
    clips: Sequence[Audio | None],
    workers: int = 1,
    store: ArtifactStore | None = None,
    advance: Callable[[int], None] = lambda more: None,
) -> list[tuple[str, ...]]:
    """Phones heard in every clip, in order; () where there is no sound: all its phones are errors.

    Args:
        store: kept there by sound, and not heard again.
        advance: is told that so many more clips are done.

    Raises:
        ConfigError: pocketsphinx is not installed. ValueError: samples that are not finite.
    """
    version = check_phones()
    data = {digest(["phones", version, content(clip)]): pcm(clip) for clip in clips}
    keys = [digest(["phones", version, content(clip)]) for clip in clips]
    known = {key: _kept(store, key) if sound else () for key, sound in data.items()}
    todo = [key for key, phones in known.items() if phones is None]
    advance(len(clips) - len(todo))
    for key, phones in zip(todo, _hear_all([data[key] for key in todo], workers), strict=True):
        known[key] = phones
        if store is not None:
            store.write(key, {}, {"type": "Phones", "phones": list(phones)})
        advance(1)
    return [known[key] or () for key in keys]


def _kept(store: ArtifactStore | None, key: str) -> tuple[str, ...] | None:
    entry = store.read(key) if store is not None and store.has(key) else None
    return tuple(entry[1]["phones"]) if entry and entry[1].get("type") == "Phones" else None


def _hear_all(data: list[bytes], workers: int) -> Iterator[tuple[str, ...]]:
    if workers <= 1 or len(data) < 2 * workers:
        yield from map(hear_phones, data)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(hear_phones, data)


def folded(phones: Sequence[str]) -> tuple[str, ...]:
    """Phones as the listener tells them apart: without pauses, in lower case, `ax` as `ah`."""
    return tuple(FOLD.get(p.lower(), p.lower()) for p in phones if p != PAUSE)


@dataclass(frozen=True)
class PhoneErrors:
    """One phone of the references and how often it was not heard."""

    phone: str
    said: int
    wrong: int
    heard: tuple[tuple[str, int], ...]
    """what was heard in its place ('' = nothing) and how often"""

    @property
    def rate(self) -> float:
        """Share of its occurrences that were not heard."""
        return self.wrong / self.said


@dataclass(frozen=True)
class PhoneReport:
    """Of a corpus."""

    rate: float
    """substitutions, deletions and insertions over the phones of the references (jiwer, minimum edit distance)"""
    substituted: int
    deleted: int
    inserted: int
    phones: int
    by_phone: tuple[PhoneErrors, ...]
    """worst first: by how often, over all phones, it was wrong"""


def phone_errors(references: Sequence[Sequence[str]], heard: Sequence[Sequence[str]]) -> PhoneReport:
    """Phone errors of a corpus; both sides are folded, and jiwer aligns phones as if they were words.

    Raises:
        ValueError: a reference without phones, or lists of different lengths.
    """
    import jiwer

    wanted, found = [folded(r) for r in references], [folded(h) for h in heard]
    if len(wanted) != len(found) or not wanted or not all(wanted):
        raise ValueError("every item needs the phones that were to be said, and what was heard")
    result = jiwer.process_words([" ".join(p) for p in wanted], [" ".join(p) for p in found])
    said, wrong = Counter(p for phones in wanted for p in phones), Counter[str]()
    instead: dict[str, Counter[str]] = {p: Counter() for p in said}
    for one, other, chunks in zip(wanted, found, result.alignments, strict=True):
        for chunk in chunks:
            if chunk.type not in ("substitute", "delete"):
                continue
            for offset, phone in enumerate(one[chunk.ref_start_idx : chunk.ref_end_idx]):
                wrong[phone] += 1
                place = chunk.hyp_start_idx + offset
                instead[phone][other[place] if chunk.type == "substitute" else ""] += 1
    order = sorted(wrong, key=lambda p: (-wrong[p], p))
    worst = tuple(PhoneErrors(p, said[p], wrong[p], tuple(instead[p].most_common(3))) for p in order)
    errors = result.substitutions + result.deletions + result.insertions
    total = sum(said.values())
    return PhoneReport(errors / total, result.substitutions, result.deletions, result.insertions, total, worst)
