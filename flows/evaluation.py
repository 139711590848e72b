"""The evaluation as a flow to deploy; `caretta evaluate` is flows/evaluate.py, which can do without an engine."""

from __future__ import annotations

from prefect import flow

from flows.evaluate import as_task, show
from stages.evaluation.run import evaluate, prepare


@flow(name="evaluate", persist_result=False)
def evaluation(config: str, sets: list[str] | None = None) -> str:
    """Measures the systems of a config and writes the report.

    Args:
        config: a file of configs/evaluate/
        sets: overrides, each key=value

    Returns:
        the report as one line of JSON.
    """
    job = prepare(config, sets or [])
    report = evaluate(job, as_task)
    show(report, job.out)
    return report.line()
