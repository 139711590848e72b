"""The synthesis DAG in Prefect: a task per stage per shard over the artifact store.

Prefect's own result cache is off: the store is the one owner of results. A shard whose results are all there ends as
"Cached".
"""

from __future__ import annotations

from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Completed, State
from prefect.task_runners import ThreadPoolTaskRunner

from flows.batch import Job, Request, finish, prepare
from flows.runtime import WORKERS, Shard, drain, wavefront
from stages.core.pipeline import StageReport, keep_voices, run_stage_on_items, shards


def _transient(task: Any, task_run: Any, state: State) -> bool:
    """Whether to try again: a disk or a network that hiccuped, never a bad configuration."""
    return isinstance(state.result(raise_on_failure=False), OSError)


@task(cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=[1, 4], retry_condition_fn=_transient)
def run_stage(shard: Shard, index: int, before: StageReport | None) -> Any:
    """One stage on one shard; gives a StageReport. Ends as Completed(name="Cached") when nothing had to be computed."""
    report = run_stage_on_items(shard.pipeline, index, shard.units, shard.store, before.stopped if before else {})
    if report.calls == 0 and report.hits:
        return Completed(name="Cached", message=f"{report.hits} of {report.hits} in the store", data=report)
    return report


_RUNNER: Any = ThreadPoolTaskRunner(max_workers=WORKERS)


@flow(name="synthesize", persist_result=False, log_prints=False, task_runner=_RUNNER)
def synthesize(
    corpus: str,
    out: str,
    voice: str = "rms",
    preset: str | None = None,
    pipeline: str = "tortoise",
    seed: int = 0,
    sets: list[str] | None = None,
) -> dict[str, Any]:
    """Speaks every line of a corpus into OUT/<id>.wav with OUT/manifest.jsonl; what is in the store is not redone.

    Args:
        corpus: a .txt (one text per line), .jsonl or .csv (id, text) file
        out: folder of the results
        voice: a named voice or the path of a clip
        preset: ultra_fast, fast, standard or high_quality
        sets: overrides, each stage.key=value
    """
    request = Request(corpus, out, voice, preset, pipeline, seed, tuple(sets or ()))
    job = _planned.pop(request, None) or prepare(request)
    compute(job)
    return finish(job)


_planned: dict[Request, Job] = {}
"""Plans that the command line has already made: flow parameters must be plain, and planning twice is a waste."""


def compute(job: Job) -> None:
    """Runs the missing stages of every shard as tasks of the current flow; fills the job's report."""
    waiting = {u.key for u in job.open_units}
    units = {u.key: u for document in job.documents for u in document.units}
    job.pipeline.count_cached([u for key, u in units.items() if key not in waiting])
    keep_voices(job.documents, waiting, job.store)
    ordered = sorted(job.open_units, key=lambda u: len(u.text))  # like lengths together: less padding
    groups = [Shard(job.pipeline, job.store, group) for group in shards(ordered, job.pipeline.route.shard)]
    futures: dict[tuple[int, int], Any] = {}
    names = [node.spec.name for node in job.pipeline.route.nodes]
    for shard, index in wavefront(len(groups), len(names)):
        named = run_stage.with_options(name=names[index], task_run_name=f"{names[index]}-{shard}")
        futures[shard, index] = named.submit(groups[shard], index, futures.get((shard, index - 1)))
    try:
        for (shard, index), future in futures.items():
            job.pipeline.report.add(future.result())
            if job.progress and index == len(names) - 1:
                job.progress(len(groups[shard].units), len(ordered))
    finally:
        context = FlowRunContext.get()
        if context is not None and context.flow_run is not None:
            drain(context.flow_run.id, sum(1 for future in futures.values() if future.state.is_final()))


def run(job: Job) -> dict[str, Any]:
    """The flow as the command line calls it, with the plan it has made. Raises what storing and loading raise."""
    request = job.request
    _planned[request] = job
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):  # it would hold the exit for a second
        return synthesize(
            request.corpus,
            request.out,
            request.voice,
            request.preset,
            request.pipeline,
            request.seed,
            list(request.sets),
        )
