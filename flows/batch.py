"""The plain part of `caretta batch`: validate, plan, write. `flows/synthesize.py` runs what the plan finds missing.

A line whose sound is in the output folder, as `SHA256SUMS` and the manifest's key say, is left alone without a look
into the store. Every other line is written as soon as its last sentence is there, so that a killed run loses little.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from flows import choices as choosing
from flows import exports, outputs
from flows.choices import Choices
from flows.corpus import CorpusError, Line, read_book, read_corpus
from stages.core import timing
from stages.core.artifacts import ArtifactStore
from stages.core.audio import AudioError
from stages.core.config import ConfigError
from stages.core.fingerprint import file_digest
from stages.core.pipeline import Document, Pipeline, Result
from stages.core.route import load_route, voice_rate
from stages.core.types import Voice
from stages.core.units import Unit
from stages.core.voices import VoiceError, load_voice

MANIFEST = "manifest.jsonl"
AT_ONCE = 64
"""sentences whose sounds are held in memory to be written together"""
Row = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """What the user asks of a batch."""

    corpus: str
    out: str
    voice: str = "rms"
    preset: str | None = None
    pipeline: str = "tortoise"
    seed: int = 0
    sets: tuple[str, ...] = ()
    format: str = "wav"
    book: bool = False
    """the corpus is one long text: a file per chapter"""
    exports: tuple[str, ...] = ()
    redo: tuple[str, ...] = ()
    picks: tuple[str, ...] = ()
    runner: Literal["auto", "inline", "threads", "processes", "ray"] = "auto"
    address: str | None = None
    """of the Ray cluster"""


@dataclass
class Job:
    """A validated request with every key computed; nothing has run yet."""

    request: Request
    out: Path
    lines: list[Line]
    choices: Choices
    pipeline: Pipeline
    store: ArtifactStore
    documents: list[Document]
    rows: list[Row | None]
    """of the manifest; None for a line that is not written yet"""
    sums: dict[str, str]
    """sha256 of every sound in `rows`, by file name"""
    open_units: list[Unit] = field(default_factory=list)
    """distinct sentences without audio"""
    kept: int = 0
    """lines whose sound was there already"""
    progress: Callable[[int, int], None] | None = None
    """is told of sentences: (so many more are finished, of so many)"""
    _waiting: dict[str, list[int]] = field(default_factory=dict)
    """sentence -> lines that lack it"""
    _lacking: dict[int, int] = field(default_factory=dict)
    """line -> number of sentences that it lacks"""

    def advance(self, units: Sequence[Unit]) -> None:
        """Sentences are finished: writes the lines that are complete now."""
        complete = []
        for unit in units:
            for number in self._waiting.pop(unit.key, ()):
                self._lacking[number] -= 1
                if not self._lacking[number]:
                    complete.append(number)
        write_lines(self, complete)
        if self.progress:
            self.progress(len(units), len(self.open_units))

    def expect(self) -> None:
        """Notes which lines wait for which of the open sentences."""
        waiting = {unit.key for unit in self.open_units}
        for number, document in enumerate(self.documents):
            keys = {u.key for u in document.units} & waiting if self.rows[number] is None else ()
            for key in keys:
                self._waiting.setdefault(key, []).append(number)
            if keys:
                self._lacking[number] = len(keys)


def prepare(request: Request) -> Job:
    """Validates everything, plans without loading a model, and makes the output folder.

    Raises:
        CorpusError, ConfigError, VoiceError, AudioError, CheckpointError, OutputError: one sentence each.
    """
    job = plan(request)
    outputs.make_folder(job.out)
    outputs.clean_folder(job.out)
    outputs.write_yaml(job.out / "config.yaml", job.pipeline.route.plain())
    if job.choices.by_id:
        outputs.write_yaml(job.out / choosing.NAME, job.choices.plain())
    return job


def plan(request: Request) -> Job:
    """`prepare` without writing anything. Raises what it raises."""
    if request.format not in outputs.NAMES:
        raise ConfigError(f"unknown format {request.format!r}; use one of {', '.join(outputs.NAMES)}")
    exports.check(request.exports, request.format)
    lines = read_book(request.corpus) if request.book else read_corpus(request.corpus)
    route = load_route(request.pipeline, request.preset, request.sets)
    outputs.check_route(f".{request.format}", route)
    voices = _voices(lines, request, voice_rate(route))
    out = Path(request.out)
    choices = choosing.read_choices(out, lines)
    spoken = {name: row["seed"] - request.seed for name, row in read_manifest(out).items()} if request.redo else {}
    choices = choosing.with_redo(choices, request.redo, lines, spoken)
    choices = choosing.with_picks(choices, request.picks, lines)
    pipeline = Pipeline(route)
    store = ArtifactStore(route.cache.dir, route.cache.options)
    documents = [_document(pipeline, line, voices[line.voice or request.voice], request, choices) for line in lines]
    job = Job(request, out, lines, choices, pipeline, store, documents, [None] * len(lines), {})
    _keep(job)
    todo = [document for document, row in zip(documents, job.rows, strict=True) if row is None]
    job.open_units = pipeline.open_units(todo, store)
    job.expect()
    return job


def finish(job: Job) -> dict[str, Any]:
    """Writes the lines that are left, the manifest and the checksums; computes in-process what is still missing.

    Returns:
        counts and times: items, ok, failed, kept, stage_calls, cache_hits, audio_seconds, errors by id, output.
    """
    write_lines(job, [number for number, row in enumerate(job.rows) if row is None])
    rows = [row for row in job.rows if row is not None]
    errors = {row["id"]: row["error"] for row in rows if "error" in row}
    job.sums[MANIFEST] = outputs.write_lines(job.out / MANIFEST, rows)
    outputs.write_sums(job.out, job.sums)
    exported = {kind: exports.export(kind, job.out, rows) for kind in job.request.exports}
    timing.remember(job.pipeline.route, job.pipeline.report, job.store)
    report = job.pipeline.report
    ok = sum("path" in row for row in rows)
    if not len(job.lines) == len(rows) == ok + len(errors):
        raise RuntimeError(f"{len(job.lines)} lines are not {ok} spoken and {len(errors)} failed: a fault of caretta")
    return {
        "items": len(rows), "ok": ok, "failed": len(errors), "kept": job.kept,
        "stage_calls": report.stage_calls, "cache_hits": report.cache_hits,
        "stage_seconds": {k: round(v, 3) for k, v in report.stage_seconds.items()},
        "load_seconds": round(report.load_seconds, 3),
        "audio_seconds": round(sum(row.get("duration", 0.0) for row in rows), 3),
        "errors": errors, "seed": job.request.seed, "output": str(job.out),
        "exported": {kind: {"written": e.written, "skipped": e.skipped} for kind, e in exported.items()},
    }  # fmt: skip


def read_manifest(out: Path) -> dict[str, Row]:
    """The rows of an output folder's manifest by id; {} when there is none. Raises ConfigError for a damaged one."""
    path = out / MANIFEST
    if not path.is_file():
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            return {row["id"]: row for row in map(json.loads, file)}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: is damaged ({error}); run the batch again, which writes it anew") from None


def write_lines(job: Job, numbers: Sequence[int]) -> None:
    """Writes the sounds of some lines and notes their rows; a line without sound has the reason in its row."""
    group: list[int] = []
    sentences = 0
    for number in numbers:
        group.append(number)
        sentences += len(job.documents[number].units)
        if sentences >= AT_ONCE:
            _write_group(job, group)
            group, sentences = [], 0
    _write_group(job, group)


def _write_group(job: Job, numbers: Sequence[int]) -> None:
    results = job.pipeline.results([job.documents[number] for number in numbers], job.store)
    sounds: dict[Path, bytes] = {}
    for number, result in zip(numbers, results, strict=True):
        line, document = job.lines[number], job.documents[number]
        path = job.out / f"{line.id}.{job.request.format}"
        row: Row = {"id": line.id, "text": line.text, "voice": document.voice.name, "seed": document.seed}
        if line.title is not None:
            row["title"] = line.title
        if result.error is None and result.audio is not None:
            sounds[path] = outputs.sound_bytes(result.audio, path.suffix, tag=f"caretta {document.key}")
            job.rows[number] = row | {"path": path.name} | _outcome(result)
        else:
            path.unlink(missing_ok=True)  # never leave another run's sound beside this run's error
            job.rows[number] = row | {"error": result.error, "unspoken": list(result.unspoken)}
    job.sums |= outputs.write_files(sounds)


def _outcome(result: Result) -> Row:
    """What the manifest says of a line that was spoken."""
    assert result.audio is not None
    return {
        "duration": round(outputs.duration(result.audio), 6),
        "spoken": [word for sentence in result.sentences for word in sentence["spoken"]],
        "scores": outputs.scores(result), "key": result.key, "faults": result.faults,
        "unspoken": list(result.unspoken),
    }  # fmt: skip


def _document(pipeline: Pipeline, line: Line, voice: Voice, request: Request, choices: Choices) -> Document:
    choice = choices.by_id.get(line.id)
    if choice is None:
        return pipeline.document(line.text, voice, request.seed, line.title)
    try:
        return pipeline.document(line.text, voice, request.seed + choice.reading, line.title, choice.by_sentence)
    except ConfigError as error:
        raise ConfigError(f"the pick for {line.id!r} (in {Path(request.out) / choosing.NAME}): {error}") from None


def _keep(job: Job) -> None:
    """Takes over the rows of an earlier run whose sounds are just what this run would write."""
    sums = outputs.read_sums(job.out)
    if MANIFEST not in sums or not _is(job.out / MANIFEST, sums[MANIFEST]):
        return
    rows = read_manifest(job.out)
    for number, (line, document) in enumerate(zip(job.lines, job.documents, strict=True)):
        row, name = rows.get(line.id), f"{line.id}.{job.request.format}"
        same = row is not None and (row.get("key"), row.get("path"), row["text"]) == (document.key, name, line.text)
        if same and name in sums and _is(job.out / name, sums[name]):
            job.rows[number], job.sums[name] = row, sums[name]
            job.kept += 1
    kept = {u.key: u for d, row in zip(job.documents, job.rows, strict=True) if row is not None for u in d.units}
    job.pipeline.count_cached(list(kept.values()))


def _is(path: Path, digest: str) -> bool:
    try:
        return file_digest(path) == digest
    except OSError:
        return False  # not there or not readable: it is written anew


def _voices(lines: list[Line], request: Request, rate: int) -> dict[str, Voice]:
    """Every voice of the run, each loaded once, at a sample rate."""
    voices = {request.voice: load_voice(request.voice, rate)}
    for line in lines:
        if line.voice is not None and line.voice not in voices:
            try:
                voices[line.voice] = load_voice(line.voice, rate)
            except (VoiceError, AudioError) as error:
                raise CorpusError(f"{request.corpus}: id {line.id!r}: {error}") from None
    return voices
