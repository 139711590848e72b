"""The evaluation as a Prefect flow: one task per system and voice for speaking, one for listening."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.evaluation.report import Report
from stages.evaluation.run import ALL_OK, SOME_MISSING, Job, evaluate, prepare


def main(config_path: str, sets: list[str]) -> int:
    """`caretta evaluate CONFIG`: prints a table and, as the last line, one JSON object.

    Returns:
        0 all spoken, 3 some items have no sound.

    Raises:
        ConfigError, VoiceError, AudioError, CheckpointError, StoreError: it could not run; one sentence each.
    """
    job = prepare(config_path, sets)
    report = in_flow(job) if job.config.flow else evaluate(job)
    print(report.table())
    print(f"\n{job.out / 'report.html'}")
    print(report.line())
    return SOME_MISSING if report.missing else ALL_OK


def in_flow(job: Job) -> Report:
    """The same steps, each a task of a Prefect flow. Raises ConfigError when the flow engine does not start."""
    from flows.commands import DEFAULT_CACHE
    from flows.runtime import prepare_environment
    from stages.core.config import ConfigError

    prepare_environment(job.store.local_folder or Path(DEFAULT_CACHE))
    from prefect import flow

    @flow(name="evaluate", flow_run_name=job.name, persist_result=False)
    def evaluation() -> Report:
        return evaluate(job, as_task)

    try:
        return evaluation()
    except RuntimeError as error:
        if "Prefect API server" not in str(error):
            raise
        raise ConfigError(
            "the flow engine did not start in time (a busy machine?); run it again with --set flow=false"
        ) from None


def as_task(name: str, work: Callable[[], Any]) -> Any:
    """Runs one step as a task of the current flow."""
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    def call() -> Any:  # without parameters, so that Prefect has nothing to walk through
        return work()

    return task(name=name.split()[0], task_run_name=name, cache_policy=NO_CACHE, persist_result=False)(call)()
