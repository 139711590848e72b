"""The synthesis flow: a corpus through the stages of a route, over the artifact store."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from prefect import flow, get_run_logger
from prefect.states import Failed

from flows.batch import Job, Request, finish, prepare
from flows.dashboard import Dashboard
from flows.devices import Slots
from flows.places import open_place, open_slots, runner_name
from flows.runtime import call, drain_flow
from flows.shards import Course
from stages.core.execute import keep_voices

Preset = Literal["ultra_fast", "fast", "standard", "high_quality", "steady"]
Format = Literal["wav", "flac", "ogg", "opus"]
Runner = Literal["auto", "threads", "processes", "ray"]
Export = Literal["ljspeech", "melotts", "nemo", "melle", "audiofolder", "jsonl"]


@flow(name="synthesize", persist_result=False, log_prints=False)
def synthesize(
    corpus: str,
    out: str,
    voice: str = "rms",
    preset: Preset = "fast",
    pipeline: str = "tortoise",
    seed: int = 0,
    sets: list[str] | None = None,
    format: Format = "wav",
    book: bool = False,
    exports: list[Export] | None = None,
    redo: list[str] | None = None,
    picks: list[str] | None = None,
    runner: Runner = "auto",
    address: str | None = None,
) -> Any:
    """Speaks every line of a corpus into OUT/<id>.wav with OUT/manifest.jsonl; what is in the store is not redone.

    The run ends as Failed when a line could not be spoken; the others are there, and the manifest has every reason.

    Args:
        corpus: a .txt (one text per line), .jsonl or .csv (id, text, optionally voice) file
        out: folder of the results
        voice: a named voice, or the path of a clip of 1 to 30 seconds
        preset: more candidates and more diffusion steps, the higher; steady (of vits): the same on every seed
        pipeline: the route, a name in configs/synthesize/ or the path of a YAML file
        seed: another seed, another reading
        sets: overrides, each stage.key=value
        format: of the sound files
        book: the corpus is one long text; writes a file per chapter
        exports: training corpora to write as well
        redo: ids of lines that shall have another reading
        picks: candidates to take instead of the judges' choice, each ID=CANDIDATE
        runner: where stages run; auto is processes for a larger corpus on CPUs, else threads
        address: of a Ray cluster
    """
    request = Request(
        corpus, out, voice, preset, pipeline, seed, tuple(sets or ()), format, book, tuple(exports or ()),
        tuple(redo or ()), tuple(picks or ()), runner, address,
    )  # fmt: skip
    report = speak(*(_planned.pop(request) if request in _planned else (prepare(request), None)))
    if not report["failed"]:
        return report
    name, reason = next(iter(report["errors"].items()))
    message = f"{report['failed']} of {report['items']} lines could not be spoken, first {name}: {reason}"
    return Failed(message=message, data=report)


def speak(job: Job, slots: Slots | None) -> dict[str, Any]:
    """Computes what a job lacks as tasks of the current flow run, writes it, and gives the report."""
    log = get_run_logger()
    log.info("%d lines, %d kept, %d sentences to compute", len(job.lines), job.kept, len(job.open_units))
    dashboard = Dashboard(job)
    if job.open_units:
        log.info("runner %s", runner_name(job))
        compute(job, slots, dashboard)
    report = finish(job)
    log.info("%d spoken, %d failed, %s", report["ok"], report["failed"], job.out)
    dashboard.finish(report)
    return report


def compute(job: Job, slots: Slots | None, dashboard: Dashboard) -> None:
    """Runs the missing stages of every shard; lines are written as they are completed."""
    waiting = {u.key for u in job.open_units}
    todo = [document for document, row in zip(job.documents, job.rows, strict=True) if row is None]
    units = {u.key: u for document in todo for u in document.units}
    job.pipeline.count_cached([u for key, u in units.items() if key not in waiting])
    keep_voices(job.documents, waiting, job.store)

    def done(units: Any) -> None:
        job.advance(units)
        dashboard.advance(len(units))

    course = None
    try:
        with open_place(job, slots) as place:
            course = Course(job, place, done)
            course.run()
    except KeyboardInterrupt:
        course = None  # whoever interrupts does not want to wait
        raise
    finally:
        if course is not None:
            drain_flow(course.recorded)


_planned: dict[Request, tuple[Job, Slots | None]] = {}
"""What the command line has made already: flow parameters must be plain, and planning twice is a waste."""


def run(job: Job) -> dict[str, Any]:
    """The flow as the command line calls it, with the plan it has made. Raises what storing and loading raise."""
    request = job.request
    slots = open_slots(job) if runner_name(job) != "ray" else None  # processes start while the server does
    _planned[request] = job, slots
    values = {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
    parameters = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    checked: Any = synthesize.with_options(validate_parameters=False)  # a route file may have presets of its own
    try:
        result = call(checked, return_state=True, **parameters).result(raise_on_failure=False)
    finally:
        if slots is not None:
            slots.close()
    if isinstance(result, BaseException):
        raise result
    report: dict[str, Any] = result
    return report
