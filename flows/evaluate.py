"""The evaluation as a Prefect flow: a task per system and voice for speaking, one for listening, one for measuring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.evaluation.report import Report
from stages.evaluation.run import ALL_OK, SOME_MISSING, Job, evaluate, prepare

ROWS = 50
"""worst sentences that the UI's table shows"""


def main(config_path: str, sets: list[str]) -> int:
    """`caretta evaluate CONFIG`: prints a table and, as the last line, one JSON object.

    Returns:
        0 all spoken, 3 some items have no sound or a system failed.

    Raises:
        ConfigError, VoiceError, AudioError, CheckpointError, StoreError: it could not run; one sentence each.
    """
    from flows.runtime import progress_bars

    job = prepare(config_path, sets)
    with progress_bars() as progress:
        report = in_flow(job, progress) if job.config.flow else evaluate(job, progress=progress)
    print(report.table())
    print(f"\n{job.out / 'report.html'}")
    if job.config.summary:
        print(f"{job.config.summary}\n\n{report.markdown()}\n")
    print(report.line())
    return SOME_MISSING if report.missing or report.failed else ALL_OK


def in_flow(job: Job, progress: Callable[[str, float, float], None]) -> Report:
    """The same steps, each a task of a Prefect flow. Raises ConfigError when the flow engine does not start."""
    from flows.commands import DEFAULT_CACHE
    from flows.runtime import prepare_environment
    from stages.core.config import ConfigError

    prepare_environment(job.store.local_folder or Path(DEFAULT_CACHE))
    from prefect import flow

    @flow(name="evaluate", flow_run_name=job.name, persist_result=False)
    def evaluation() -> Report:
        report = evaluate(job, as_task, progress)
        show(report, job.out)
        return report

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


def show(report: Report, out: Path) -> None:
    """The report as artifacts of the current flow run: the page's link, its tables, the worst sentences.

    They are for looking at only: a server that does not take one is noted in the log and never fails a run.
    """
    from prefect import get_run_logger
    from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

    page = (out / "report.html").resolve().as_uri()
    text = f"{report.coverage()}\n\n{report.markdown()}\n\n```\n{report.table()}\n```\n"
    shows: tuple[Callable[[], Any], ...] = (
        lambda: create_link_artifact(page, link_text=f"{report.name}: report.html", key="evaluate-report"),
        lambda: create_markdown_artifact(text, key="evaluate-summary", description=report.command),
        lambda: create_table_artifact(_worst(report), key="evaluate-worst", description="Sentences with most errors"),
    )
    for each in shows:
        try:
            each()
        except Exception as error:  # whatever a server may answer: the report is written
            get_run_logger().warning("not shown in the UI: %s", " ".join(str(error).split())[:300])


def _worst(report: Report) -> list[dict[str, Any]]:
    found = [(row, item) for row in report.rows for item in row.items if item.wer]
    found.sort(key=lambda pair: -pair[1].wer)
    return [
        {"voice": row.voice, "system": row.system, "id": item.id, "WER %": round(100 * item.wer),
         "reference": item.reference, "heard": item.heard, "error": item.error or ""}
        for row, item in found[:ROWS]
    ]  # fmt: skip
