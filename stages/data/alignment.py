"""Phone timings for the rows of a corpus that lack them: forced alignment in a process pool, cached by content.

A row whose text is not in its sound is a Problem, never the end of the run.
"""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stages.core.artifacts import ArtifactStore
from stages.core.audio import AudioError, read_audio
from stages.core.fingerprint import digest, file_digest
from stages.core.storage import StoreError
from stages.core.types import Phonemes
from stages.data.aligners import AlignConfig, Aligner, NotAligned, Timings, make_aligner
from stages.data.isolation import isolated
from stages.data.recording import Problem

__all__ = ["AlignConfig", "Aligned", "Alignable", "Timings", "align"]
CHUNK = 16
"""rows that a worker takes at a time and stores with one commit"""


class Alignable(Protocol):
    """What `align` reads of a row; `Utterance` is one."""

    @property
    def id(self) -> str: ...
    @property
    def audio(self) -> Path: ...
    @property
    def text(self) -> str: ...
    @property
    def phones(self) -> Timings: ...


@dataclass(frozen=True)
class Aligned:
    """Timings by id, and what has none: together every row."""

    phones: dict[str, Timings]
    problems: list[Problem]


@dataclass(frozen=True)
class _Job:
    id: str
    audio: Path
    text: str


def align(
    rows: Sequence[Alignable],
    config: AlignConfig | None = None,
    store: ArtifactStore | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Aligned:
    """Aligns the rows that have no phones; those that have some keep them.

    Args:
        rows: with ids that differ.
        store: where alignments are kept by sound, phones and aligner; None keeps none.
        progress: told (rows done, rows to align).

    Raises:
        CheckpointError: the tokenizer's checkpoint cannot be used. StoreError: the store cannot be written.
    """
    config = config or AlignConfig()
    phones = {row.id: tuple(row.phones) for row in rows if row.phones}
    jobs = [_Job(row.id, row.audio, row.text) for row in rows if not row.phones]
    lost: dict[str, Problem] = {}
    done = 0
    for part, results in isolated(_align, (config, store), jobs, workers, _fallen, CHUNK):
        for job, found in zip(part, results, strict=True):
            if isinstance(found, Problem):
                lost[job.id] = found
            else:
                phones[job.id] = found
        done += len(part)
        if progress:
            progress(done, len(jobs))
    problems = [lost[job.id] for job in jobs if job.id in lost]
    assert len(phones) + len(problems) == len(rows), "every row is aligned or a problem; are there two of one id?"
    return Aligned(phones, problems)


@functools.lru_cache(maxsize=2)
def _aligner(config: AlignConfig) -> Aligner:
    if config.aligner == "tokenizer" and multiprocessing.parent_process() is not None:
        import torch

        torch.set_num_threads(1)  # the other workers have the other cores
    return make_aligner(config)


@functools.lru_cache(maxsize=2)
def _text(lexicon: str) -> Any:
    from stages.text.stage import TextConfig, TextStage

    return TextStage.load(TextConfig(lexicon=lexicon))


def _fallen(job: _Job) -> Problem:
    return Problem(job.id, str(job.audio), "not_aligned", f"{job.id}: the aligner broke down on it; look at its sound")


def _align(jobs: Sequence[_Job], config: AlignConfig, store: ArtifactStore | None) -> list[Timings | Problem]:
    """Timings or the problem of each job."""
    entries: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    out = [_one(config, store, job, entries) for job in jobs]
    if store is not None and entries:
        store.write_many(entries)
    return out


def _one(config: AlignConfig, store: ArtifactStore | None, job: _Job, entries: dict[str, Any]) -> Timings | Problem:
    try:
        phonemes = _text(config.lexicon).run([{str: job.text}])[0]
    except ValueError as error:
        return Problem(job.id, str(job.audio), "not_aligned", f"{job.id}: {error}; mend its text")
    try:
        sound = file_digest(job.audio)
        key = _key(_aligner(config), sound, phonemes)
        meta = _cached(store, key)
        if meta is None:
            meta = _computed(_aligner(config), job, phonemes)
            entries[key] = {}, meta
    except StoreError:
        raise  # the machine's fault, not the row's
    except (OSError, AudioError) as error:
        return Problem(job.id, str(job.audio), "unreadable_audio", f"{job.id}: {error}")
    if "problem" in meta:
        detail = f"{job.id}: {meta['problem']}; check that text and sound belong together"
        return Problem(job.id, str(job.audio), "not_aligned", detail)
    return tuple((symbol, end) for symbol, end in meta["phones"])


def _key(aligner: Aligner, sound: str, phonemes: Phonemes) -> str:
    return digest(["alignment", aligner.identity, sound, [word.phones for word in phonemes.words]])


def _cached(store: ArtifactStore | None, key: str) -> dict[str, Any] | None:
    entry = store.read(key) if store is not None else None
    return entry[1] if entry and entry[1].get("type") == "Alignment" else None


def _computed(aligner: Aligner, job: _Job, phonemes: Phonemes) -> dict[str, Any]:
    samples = read_audio(job.audio, aligner.rate)
    try:
        return {"type": "Alignment", "phones": aligner(samples, phonemes)}
    except NotAligned as error:
        return {"type": "Alignment", "problem": str(error)}
