"""The evaluation itself, in plain Python: `python -m stages.evaluation.run CONFIG` runs it without Prefect."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.artifacts import ArtifactStore
from stages.core.checkpoint import CheckpointError
from stages.core.config import ConfigError, build, merge, near_miss, parse_set, read_with_base
from stages.core.route import STAGES, Route, load_route, voice_rate
from stages.core.types import Voice
from stages.core.voices import load_voice
from stages.evaluation.alone import measure_alone
from stages.evaluation.bench import Bench, Clip, Output, Sentence, check_teacher, sounding
from stages.evaluation.config import EvaluateConfig
from stages.evaluation.intelligibility import Recogniser, transcribe
from stages.evaluation.measures import Case, Score, check_measures, measured, worst_phones
from stages.evaluation.plan import Failed, Plan, plans
from stages.evaluation.recognisers import recogniser
from stages.evaluation.report import Report, write_report
from stages.evaluation.scores import Row, assess
from stages.evaluation.seeds import over_seeds
from stages.evaluation.speed import Alone
from stages.evaluation.systems import references
from stages.evaluation.testset import Line, read_list

ALL_OK, SOME_MISSING = 0, 3
_ROUTE_KEYS = (*STAGES, "pauses", "cache", "device", "shard")
Step = Callable[[str, Callable[[], Any]], Any]
"""(name, work) -> what the work gives; a flow makes a task of it"""
Progress = Callable[[str, float, float], None]
"""is told (what, done, wanted)"""


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
    plans: tuple[Plan, ...]
    failed: tuple[Failed, ...] = ()
    notes: tuple[str, ...] = ()
    command: str = ""
    """that makes the report again"""

    @property
    def reference(self) -> str:
        """The system that the others are compared with by sound; '' = none."""
        return self.config.reference or ("teacher" if any(plan.teacher for plan in self.plans) else "")

    @property
    def baseline(self) -> str:
        """The system that the others are compared with by intervals; '' = none."""
        names = [plan.name for plan in self.plans]
        if self.config.baseline in names:
            return self.config.baseline
        spoken = [plan.name for plan in self.plans if plan.chain and plan.name != self.reference]
        return next(iter([*spoken, *(name for name in names if name != self.reference)]), "")


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


def prepare(path: str | Path, sets: Iterable[str] = ()) -> Job:
    """Checks everything that can be known before any work.

    Raises:
        ConfigError, VoiceError, AudioError, CheckpointError: one sentence each.
    """
    sets = list(sets)
    config = read_config(path, sets)
    check_measures(config)
    listed = config.sentences or next((entry.metadata for entry in config.entries if entry.metadata), "")
    lines = read_list(listed)
    lines = lines[: config.limit] if config.limit else lines
    listener = recogniser(config.recogniser)
    route = load_route(config.pipeline, config.preset, config.sets)
    voices = tuple(load_voice(name, voice_rate(route)) for name in config.voices)
    sentences, notes = _sentences(route, lines, listed)
    found, failed = plans(config, route, sentences, voices)
    known = [*(plan.name for plan in found), *(each.name for each in failed)]
    for key, value in (("reference", config.reference), ("baseline", config.baseline)):
        if value and value not in known:
            raise ConfigError(f"{key} is {value!r}, which is not among the systems{near_miss(value, known)}")
    if any(plan.teacher for plan in found):
        for voice in voices:
            check_teacher(voice.name)
    name = Path(path).stem
    out = Path(config.out or f"artifacts/reports/{name}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{out}: cannot be made ({error.strerror}); name another folder with --set out=PATH"
        ) from None
    command = " ".join(["caretta evaluate", str(path), *(f"--set {shlex.quote(text)}" for text in sets)])
    return Job(
        name, config, out, route, ArtifactStore(route.cache.dir, route.cache.options), sentences, voices, listener,
        found, failed, notes, command,
    )  # fmt: skip


def _sentences(route: Route, lines: list[Line], path: str) -> tuple[tuple[Sentence, ...], tuple[str, ...]]:
    """The lines that have text, and a note that names those that have none."""
    bare = [line for line in lines if not line.text]
    lines = [line for line in lines if line.text]
    if not lines:
        raise ConfigError(f"{path}: no line has text; give every id its text")
    spoken = references(route, [line.text for line in lines])
    for line, (reference, _) in zip(lines, spoken, strict=True):
        if not reference:
            raise ConfigError(
                f"{path}: nothing in {line.text[:40]!r} (line {line.number}) can be spoken; remove that line"
            )
    named = ", ".join(f"{line.id} (line {line.number})" for line in bare[:5]) + (", …" if len(bare) > 5 else "")
    notes = (f"{path}: {len(bare)} without text, not scored: {named}",) if bare else ()
    return tuple(Sentence(x.id, x.text, *said) for x, said in zip(lines, spoken, strict=True)), notes


def _plainly(name: str, work: Callable[[], Any]) -> Any:
    return work()


def _silently(what: str, done: float, wanted: float) -> None:
    pass


def evaluate(job: Job, step: Step = _plainly, progress: Progress = _silently) -> Report:
    """Runs every system in every voice, listens, measures, and writes the report.

    Raises:
        StoreError, CheckpointError, ConfigError: nothing can be measured.
    """
    report = Report(
        job.name, job.config, job.route, len(job.sentences), job.reference, job.baseline, job.notes, job.command,
        failed=list(job.failed),
    )  # fmt: skip
    for voice in job.voices:
        _in_voice(job, voice, report, step, progress)
    voices, systems = [v.name for v in job.voices], [p.name for p in job.plans]
    report.rows.sort(key=lambda row: (voices.index(row.voice), systems.index(row.system)))
    write_report(report, job.out)
    return report


def _in_voice(job: Job, voice: Voice, report: Report, step: Step, progress: Progress) -> None:
    """Every system in one voice; one of a matrix that fails is told, and the others go on."""
    bench = Bench(
        job.sentences,
        voice,
        job.route,
        job.store,
        job.recogniser,
        job.config.seed,
        job.config.codes,
        job.config.workers,
    )
    truth: list[Clip] | None = None
    for plan in sorted(job.plans, key=lambda p: p.name != job.reference):  # what others are compared with, first
        try:
            row = _row(job, bench, plan, truth, step, progress)
            if plan.optional and not row.spoken:
                raise ConfigError(f"no sentence was spoken; the first: {row.items[0].error}")
        except (ConfigError, CheckpointError) as error:
            if not plan.optional:
                raise
            report.failed.append(Failed(plan.name, f"{voice.name}: {' '.join(str(error).split())}"))
            continue
        report.rows.append(row)
        if plan.name == job.reference:
            truth = row.clips


def _row(job: Job, bench: Bench, plan: Plan, truth: list[Clip] | None, step: Step, progress: Progress) -> Row:
    """One system in one voice: it speaks, the recogniser listens, the measures measure."""
    name = f"{bench.voice.name}/{plan.name}"
    own = dataclasses.replace(bench, route=plan.route, advance=_counter(progress, f"speak {name}", len(job.sentences)))
    given: Output = step(f"speak {name}", functools.partial(plan.run, own))
    same = own.spec.digest == bench.spec.digest  # mels of another definition cannot be laid side by side
    clips = [sounding(clip if same else dataclasses.replace(clip, mel=None)) for clip in given.clips]
    output = dataclasses.replace(given, clips=clips)
    if truth is None and not job.config.reference and job.reference and plan.name != job.reference:
        truth = bench.teacher  # the teacher is needed by a system, and is not one itself
    listening = _counter(progress, f"listen {name}", len(job.sentences))
    heard = step(f"listen {name}", functools.partial(_listen, job, output, listening))
    case = Case(
        job.sentences, output.clips, heard, truth, bench.voice, bench.spec, job.store, job.config.workers,
        job.config.seed, job.config.speaker, _counter(progress, f"measure {name}", len(job.sentences)),
    )  # fmt: skip
    scores = step(f"measure {name}", functools.partial(measured, job.config.measures, case))
    whole = measured(job.config.measures, case, whole=True)
    if job.config.seeds and plan.chain:
        again = functools.partial(over_seeds, dataclasses.replace(own, advance=lambda more: None), plan.run)
        found: dict[str, Score] = step(f"vary {name}", functools.partial(again, job.config.seeds))
        whole |= {column: [score] for column, score in found.items()}
    row = assess(
        bench.voice.name, plan.name, job.sentences, output, heard, scores, whole, job.config.seed, job.config.draws
    )
    phones = worst_phones(case) if "phones" in job.config.measures else None
    return dataclasses.replace(row, alone=_alone(job, bench.voice, plan, step), phones=phones)


def _alone(job: Job, voice: Voice, plan: Plan, step: Step) -> Alone | None:
    """Speed and memory in a process of its own, for what speaks by a route and was asked for."""
    if not job.config.speed or not plan.chain:
        return None
    texts = [sentence.text for sentence in job.sentences[: job.config.speed]]
    name = plan.entry.pipeline or job.config.pipeline
    sets = (*job.config.sets, *plan.entry.sets)
    work = functools.partial(measure_alone, name, plan.route.preset, sets, voice.name, texts, job.config.seed)
    found: Alone = step(f"time {voice.name}/{plan.name}", work)
    return found


def _counter(progress: Progress, what: str, wanted: int) -> Callable[[int], None]:
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        progress(what, done, wanted)

    return advance


def _listen(job: Job, output: Output, advance: Callable[[int], None]) -> list[str]:
    return transcribe([c.audio for c in output.clips], job.recogniser, job.config.workers, job.store, advance)


def main(argv: list[str]) -> int:
    """CONFIG [key=value …]; prints the table and the JSON line. Raises what `prepare` and `evaluate` raise."""
    report = evaluate(prepare(argv[0], argv[1:]))
    print(report.table())
    print(report.line())
    return SOME_MISSING if report.missing or report.failed else ALL_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
