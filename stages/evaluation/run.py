"""The evaluation itself, in plain Python: `python -m stages.evaluation.run CONFIG` runs it without Prefect."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.artifacts import ArtifactStore
from stages.core.checkpoint import locate
from stages.core.config import ConfigError, build, merge, near_miss, parse_set, read_with_base
from stages.core.route import STAGES, Route, load_route
from stages.core.types import Voice
from stages.core.voices import load_voice
from stages.evaluation.intelligibility import Recogniser, recogniser, transcribe
from stages.evaluation.report import Report, assess, write_report
from stages.evaluation.systems import (
    SYSTEMS,
    Bench,
    Output,
    Sentence,
    check_system,
    check_teacher,
    check_weights,
    references,
)

ALL_OK, SOME_MISSING = 0, 3
_ROUTE_KEYS = (*STAGES, "pauses", "cache", "device", "shard")
Step = Callable[[str, Callable[[], Any]], Any]
"""(name, work) -> what the work gives; a flow makes a task of it"""


@dataclass(frozen=True)
class EvaluateConfig:
    """`configs/evaluate/NAME.yaml`"""

    sentences: str = ""
    """text file, one sentence a line (under the repository root when it is not under the current directory)"""
    limit: int = 0
    """only the first so many sentences; 0 = all"""
    voices: tuple[str, ...] = ("rms",)
    systems: tuple[str, ...] = ("teacher", "pipeline")
    pipeline: str = "tortoise"
    preset: str | None = None
    """None = the route's default"""
    seed: int = 0
    sets: tuple[str, ...] = ()
    """overrides of the route, each stage.key=value; `--set stage.key=value` adds to them"""
    recogniser: str = "pocketsphinx"
    codes: str = "artifacts/starter/codes"
    """checkpoint of the speech tokenizer, for the systems `codes` and `diffusion`"""
    out: str = ""
    """folder of the report; empty = artifacts/reports/NAME"""
    workers: int = 2
    """processes that recognise; no result depends on it"""
    draws: int = 2000
    """of the bootstrap"""
    flow: bool = True
    """run as a Prefect flow (`caretta evaluate`); false = the same steps without it"""

    def __post_init__(self) -> None:
        for name in ("voices", "systems"):
            values = getattr(self, name)
            if not values:
                raise ValueError(f"{name} is empty; name at least one")
            if len(set(values)) != len(values):
                raise ValueError(f"{name} names one twice; name each once")
        for name, least in (("limit", 0), ("workers", 1), ("draws", 100)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; give {least} or more")


@dataclass(frozen=True, eq=False)
class Job:
    """A checked evaluation: nothing has run yet."""

    name: str
    config: EvaluateConfig
    out: Path
    route: Route
    store: ArtifactStore
    sentences: tuple[Sentence, ...]
    voices: tuple[Voice, ...]
    recogniser: Recogniser


def read_config(path: str | Path, sets: Iterable[str] = ()) -> EvaluateConfig:
    """The configuration with `--set` over it. Raises ConfigError for an unknown key (the near miss is named)."""
    sets, for_route = list(sets), []
    fields = [f.name for f in dataclasses.fields(EvaluateConfig)]
    for text in sets:
        (head,) = parse_set([text])
        is_own = head in fields and not text.partition("=")[0].strip().startswith(f"{head}.")
        if not is_own and head not in _ROUTE_KEYS:
            raise ConfigError(f"--set: unknown key {head!r}{near_miss(head, [*fields, *_ROUTE_KEYS])}")
        for_route += [] if is_own else [text]
    own = parse_set(text for text in sets if text not in for_route)
    config = build(EvaluateConfig, merge(read_with_base(path), own), str(path))
    return dataclasses.replace(config, sets=(*config.sets, *for_route))


def read_sentences(path: str, limit: int = 0) -> list[str]:
    """The non-empty lines of a UTF-8 file. Raises ConfigError when it is not named, missing, unreadable or empty."""
    if not path:
        raise ConfigError("sentences is not set; name a text file with one sentence a line")
    try:
        text = locate(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file of sentences; name a text file with one sentence a line") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); name a text file with a sentence a line"
        ) from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ConfigError(f"{path}: holds no sentences; put one on each line")
    return lines[:limit] if limit else lines


def prepare(path: str | Path, sets: Iterable[str] = ()) -> Job:
    """Checks everything that can be known before any work.

    Raises:
        ConfigError, VoiceError, AudioError, CheckpointError: one sentence each.
    """
    config = read_config(path, sets)
    for system in config.systems:
        check_system(system)
    texts = read_sentences(config.sentences, config.limit)
    listener = recogniser(config.recogniser)
    voices = tuple(load_voice(name) for name in config.voices)
    if any(SYSTEMS[s].teacher for s in config.systems):
        for voice in voices:
            check_teacher(voice.name)
    route = load_route(config.pipeline, config.preset, config.sets)
    check_weights(config.systems, route, config.codes)
    name = Path(path).stem
    out = Path(config.out or f"artifacts/reports/{name}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{out}: cannot be made ({error.strerror}); name another folder with --set out=PATH"
        ) from None
    store = ArtifactStore(route.cache.dir, route.cache.options)
    return Job(name, config, out, route, store, tuple(_sentences(route, texts, config)), voices, listener)


def _sentences(route: Route, texts: list[str], config: EvaluateConfig) -> list[Sentence]:
    spoken = references(route, texts)
    for text, reference in zip(texts, spoken, strict=True):
        if not reference:
            raise ConfigError(f"{config.sentences}: nothing in {text[:40]!r} can be spoken; remove that line")
    return [Sentence(f"{n:04d}", t, r) for n, (t, r) in enumerate(zip(texts, spoken, strict=True), 1)]


def _plainly(name: str, work: Callable[[], Any]) -> Any:
    return work()


def evaluate(job: Job, step: Step = _plainly) -> Report:
    """Runs every system in every voice, listens, measures, and writes the report.

    Raises:
        StoreError, CheckpointError, ConfigError: nothing can be measured.
    """
    report = Report(job.name, job.config, job.route.preset, len(job.sentences))
    for voice in job.voices:
        bench = Bench(
            job.sentences, voice, job.route, job.store, job.recogniser, job.config.seed, job.config.codes,
            job.config.workers,
        )  # fmt: skip
        for system in job.config.systems:
            name = f"{voice.name}/{system}"
            output: Output = step(f"speak {name}", functools.partial(SYSTEMS[system].run, bench))
            heard = step(f"listen {name}", functools.partial(_listen, job, output))
            truth = bench.teacher if any(SYSTEMS[s].teacher for s in job.config.systems) else None
            report.rows.append(assess(bench, system, output, heard, truth, job.config.draws))
    write_report(report, job.out)
    return report


def _listen(job: Job, output: Output) -> list[str]:
    return transcribe([c.audio for c in output.clips], job.recogniser, job.config.workers, job.store)


def main(argv: list[str]) -> int:
    """CONFIG [key=value …]; prints the table and the JSON line. Raises what `prepare` and `evaluate` raise."""
    report = evaluate(prepare(argv[0], argv[1:]))
    print(report.table())
    print(report.line())
    return SOME_MISSING if report.missing else ALL_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
