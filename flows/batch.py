"""The plain part of `caretta batch`: validate, plan, write. `flows/synthesize.py` runs what the plan finds missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows import outputs
from flows.corpus import CorpusError, Line, read_corpus
from stages.core.artifacts import ArtifactStore
from stages.core.audio import AudioError
from stages.core.pipeline import Document, Pipeline, Progress, Result, Unit
from stages.core.route import load_route
from stages.core.types import Voice
from stages.core.voices import VoiceError, load_voice


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


@dataclass
class Job:
    """A validated request with every key computed; nothing has run yet."""

    request: Request
    out: Path
    lines: list[Line]
    pipeline: Pipeline
    store: ArtifactStore
    documents: list[Document]
    open_units: list[Unit] = field(default_factory=list)
    """distinct sentences without audio"""
    progress: Progress | None = None


def prepare(request: Request) -> Job:
    """Validates everything and plans, without loading a model.

    Raises:
        CorpusError, ConfigError, VoiceError, AudioError, CheckpointError, OutputError: one sentence each.
    """
    lines = read_corpus(request.corpus)
    route = load_route(request.pipeline, request.preset, request.sets)
    voices = _voices(lines, request)
    pipeline = Pipeline(route)
    out = Path(request.out)
    outputs.make_folder(out)
    outputs.write_yaml(out / "config.yaml", route.plain())
    store = ArtifactStore(route.cache.dir)
    documents = [pipeline.document(line.text, voices[line.voice or request.voice], request.seed) for line in lines]
    return Job(request, out, lines, pipeline, store, documents, pipeline.open_units(documents, store))


def finish(job: Job) -> dict[str, Any]:
    """Writes sound files and the manifest from the store; computes in-process what is still missing or damaged.

    Returns:
        counts and times: items, ok, failed, stage_calls, cache_hits, audio_seconds, errors by id, output.
    """
    rows, errors, seconds = [], {}, 0.0
    for line, document in zip(job.lines, job.documents, strict=True):
        result = job.pipeline.result(document, job.store)
        row = _row(job, line, document, result)
        rows.append(row)
        if "error" in row:
            errors[line.id] = row["error"]
            (job.out / f"{line.id}.wav").unlink(
                missing_ok=True
            )  # never leave another run's sound beside this run's error
        else:
            seconds += row["duration"]
    outputs.write_lines(job.out / "manifest.jsonl", rows)
    report = job.pipeline.report
    counts = {"items": len(rows), "ok": len(rows) - len(errors), "failed": len(errors)}
    return counts | {
        "stage_calls": report.stage_calls, "cache_hits": report.cache_hits,
        "stage_seconds": {k: round(v, 3) for k, v in report.stage_seconds.items()},
        "audio_seconds": round(seconds, 3), "errors": errors, "seed": job.request.seed, "output": str(job.out),
    }  # fmt: skip


def _row(job: Job, line: Line, document: Document, result: Result) -> dict[str, Any]:
    """One line of the manifest, its sound written first."""
    head = {"id": line.id, "text": line.text, "voice": document.voice.name, "seed": document.seed}
    if result.error is not None or result.audio is None:
        return head | {"error": result.error, "unspoken": list(result.unspoken)}
    path = job.out / f"{line.id}.wav"
    outputs.write_sound(path, result.audio)
    return head | {
        "path": path.name, "duration": round(outputs.duration(result.audio), 6), "scores": outputs.scores(result),
        "key": result.key, "faults": result.faults, "unspoken": list(result.unspoken),
    }  # fmt: skip


def _voices(lines: list[Line], request: Request) -> dict[str, Voice]:
    """Every voice of the run, each loaded once."""
    voices = {request.voice: load_voice(request.voice)}
    for line in lines:
        if line.voice is not None and line.voice not in voices:
            try:
                voices[line.voice] = load_voice(line.voice)
            except (VoiceError, AudioError) as error:
                raise CorpusError(f"{request.corpus}: id {line.id!r}: {error}") from None
    return voices
