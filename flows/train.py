"""The training flow: a task per model, in the order in which they need each other, and then their evaluation.

What is trained already and made from the same things is left alone; what can go on goes on; what is made from other
things is trained again, and the older run is kept.
"""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.runtime import call, drain_flow, progress_bars
from stages.core.config import ConfigError
from stages.training import dag
from stages.training.memory import told_after
from stages.training.run import make_trainer
from stages.training.trainer import TrainingError

SPOKEN_WITH = ("autoregressive", "rerank", "diffusion", "vocoder")
"""models that `caretta say` takes with --set MODEL.checkpoint=…"""
Report = dict[str, Any]
"""of one model: model, config, folder, step, steps, metrics, first (metrics), signs, state, error"""


class ModelsFailed(ValueError):
    """Some of what was asked could not be trained or evaluated; the rest was."""

    def __init__(self, reports: list[Report]) -> None:
        super().__init__("; ".join(report["error"] for report in reports if report["error"]))
        self.reports = reports


def train_model(node: dag.Node, stand: dag.Stand, minutes: float | None) -> Report:
    """Trains one model until its steps or the minutes end. Raises ConfigError, TrainingError, CheckpointError."""
    run = node.run
    with progress_bars() as progress, dag.holding(run.folder), polite_end() as asked:
        moved = dag.make_room(node, stand)
        if moved:
            tell(moved)
        ready = lambda done, wanted: progress(f"{run.model}: features", done, wanted)  # noqa: E731
        trainer = make_trainer(run, progress=ready, tell=tell)
        dag.begin(node, stand)
        step = told_after(trainer.device, tell, lambda done, wanted: progress(node.name, done, wanted))
        limit = math.inf if minutes is None else minutes
        metrics = trainer.run(minutes=limit, progress=step, stopped=lambda: bool(asked))
        if trainer.step >= run.trainer.steps:
            dag.finish(node, stand, metrics)
        rows = list(trainer.record.rows())
    if signal.SIGINT in asked:
        raise KeyboardInterrupt
    return {
        **_report(node, stand, trainer.step), "metrics": metrics,
        "first": next((row for row in rows if row.get("kind") == "valid"), {}),
        "signs": [str(row.get("text")) for row in rows if row.get("kind") == "sign"][-3:],
    }  # fmt: skip


def _report(node: dag.Node, stand: dag.Stand, step: int) -> Report:
    return {
        "model": node.run.model, "config": node.path, "folder": node.run.folder, "state": stand.state, "step": step,
        "steps": node.run.trainer.steps, "metrics": {}, "first": {}, "signs": [], "error": None,
    }  # fmt: skip


def tell(text: str) -> None:
    """Something to know before the work begins, on stderr."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def polite_end() -> Iterator[list[int]]:
    """Signals that ask to end while this lasts: the step is finished and saved instead of lost."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield asked
        return
    before = {number: signal.signal(number, lambda n, _: asked.append(n)) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@flow(name="train", persist_result=False, log_prints=False)
def train(configs: list[str], sets: list[str] | None = None, minutes: float | None = None) -> list[Report]:
    """Trains models in dependency order; what is trained already is not trained again. Then evaluates what is new.

    Args:
        configs: files of configs/train/, folders of them, their names, or all
        sets: overrides, each key=value, for every model
        minutes: stop cleanly after so many; run it again to go on

    Returns:
        a report per model that was reached, and one per evaluation.

    Raises:
        ConfigError: configs that cannot be read together.
        ModelsFailed: after all that could be trained was; it holds the reports.
    """
    began, tasks = time.monotonic(), 0
    nodes = dag.read(dag.find(configs), sets or [])
    stands: dict[str, dag.Stand] = {}
    reports: dict[str, Report] = {}
    try:
        for node in nodes:
            left = None if minutes is None else max(0.0, minutes - (time.monotonic() - began) / 60)
            if left == 0.0:
                break
            if not all(_trained(reports.get(path)) for path in node.needs.values()):
                continue
            try:
                stand = stands[node.path] = dag.stand(node, stands)
                if stand.state == dag.DONE:
                    reports[node.path] = _as_it_is(node, stand)
                    continue
                tasks += 1
                work = _task(node.name, lambda node=node, stand=stand, left=left: train_model(node, stand, left))  # type: ignore[misc]
                reports[node.path] = work()
                _show(f"train-{node.name}", _table(reports[node.path]))
            except (TrainingError, ValueError, OSError) as error:
                reports[node.path] = {**_report(node, _UNKNOWN, 0), "error": _sentence(error)}
        told = [*reports.values(), *_evaluations(nodes, reports)]
        if any(report["error"] for report in told):
            raise ModelsFailed(told)
        return told
    finally:
        drain_flow(tasks)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the run'}: {error.strerror}; mend that and run it again to go on"
    return " ".join(str(error).split())


_UNKNOWN = dag.Stand("unknown", "", "")


def _trained(report: Report | None) -> bool:
    return report is not None and report["error"] is None and report["step"] >= report["steps"]


def _as_it_is(node: dag.Node, stand: dag.Stand) -> Report:
    return {**_report(node, stand, node.run.trainer.steps), "metrics": stand.facts.get("metrics", {})}


def _task(name: str, work: Callable[[], Report]) -> Callable[[], Report]:
    def train() -> Report:  # without parameters, so that Prefect has nothing to walk through
        return work()

    named: Callable[[], Report] = task(
        name="train", task_run_name=name.replace("{", "").replace("}", ""), cache_policy=NO_CACHE, persist_result=False
    )(train)
    return named


def _evaluations(nodes: list[dag.Node], reports: dict[str, Report]) -> list[Report]:
    """Runs the evaluations that the configs name, when all is trained and something of it is new."""
    wanted = list(dict.fromkeys(node.run.evaluate for node in nodes if node.run.evaluate))
    new = any(report["state"] != dag.DONE for report in reports.values())
    if not wanted or not new or not all(_trained(reports.get(node.path)) for node in nodes):
        return []
    made = {node.run.model: node.checkpoint for node in nodes}  # of two of a model the later one
    sets = [f"{model}.checkpoint={path}" for model, path in made.items() if model in SPOKEN_WITH]
    sets += [f"codes={made['codes']}"] if "codes" in made else []
    return [_evaluation(config, sets) for config in wanted]


def _evaluation(config: str, sets: list[str]) -> Report:
    from flows.evaluate import as_task, show
    from stages.evaluation.run import evaluate, prepare

    out: Report = {"model": "evaluation", "config": config, "error": None, "state": "evaluated", "step": 0, "steps": 0}
    try:
        job = prepare(config, sets)
        report = evaluate(job, as_task)
        show(report, job.out)
        return {**out, "folder": str(job.out), "text": report.table()}
    except (ValueError, OSError) as error:
        return {**out, "folder": "", "text": "", "error": _sentence(error)}


def _table(report: Report) -> list[dict[str, Any]]:
    return [
        {"measure": name, "at first": report["first"].get(name), "now": value, "step": report["step"]}
        for name, value in report["metrics"].items()
    ]


def _show(key: str, table: list[dict[str, Any]]) -> None:
    """A table for the UI; a server that does not take it never fails a run."""
    from prefect import get_run_logger
    from prefect.artifacts import create_table_artifact

    try:
        create_table_artifact(table, key=key.lower().replace("_", "-").replace(".", "-"))
    except Exception as error:  # whatever a server may answer: the model is trained
        get_run_logger().warning("not shown in the UI: %s", " ".join(str(error).split())[:300])


def ordered(configs: Sequence[str], sets: Sequence[str]) -> list[str]:
    """Config files of what was given, in dependency order. Raises ConfigError for one that cannot be read."""
    return [node.path for node in dag.read(dag.find(configs), sets)]


def main(config_paths: Sequence[str], sets: Sequence[str] = (), minutes: float | None = None) -> int:
    """What `caretta train` does; 0 when every model is trained or the time box ended, 1 when one could not be."""
    paths = ordered(config_paths, sets)
    if len(paths) > 1 and any(text.startswith("init_from=") for text in sets):
        raise ConfigError(f"--init-from is for one model, and {len(paths)} were given; name one config")
    try:
        reports: list[Report] = call(train, list(config_paths), list(sets), minutes)
    except ModelsFailed as failure:
        reports = failure.reports
    failed = [report for report in reports if report["error"]]
    for report in reports:
        if not report["error"]:
            print(_line(report))
    for report in failed:
        print(f"caretta: {report['error']}", file=sys.stderr)
    done = sum(_trained(report) for report in reports if report["model"] != "evaluation")
    if done < len(paths) and not (failed and len(paths) == 1):
        print(f"{done} of {len(paths)} models are trained; run it again to go on", file=sys.stderr if failed else None)
    return 1 if failed else 0


def _line(report: Report) -> str:
    if report["model"] == "evaluation":
        return f"evaluation: {report['config']} in {report['folder']}\n{report['text']}"
    metrics = ", ".join(
        f"{name} {report['first'][name]:.4g} -> {value:.4g}" if name in report["first"] else f"{name} {value:.4g}"
        for name, value in report["metrics"].items()
    )
    state = " (trained already)" if report["state"] == dag.DONE else ""
    use = (
        f"; --set {report['model']}.checkpoint={report['folder']}/checkpoint" if report["model"] in SPOKEN_WITH else ""
    )
    signs = "".join(f"; {sign}" for sign in report["signs"])
    where = f"step {report['step']} of {report['steps']} in {report['folder']}{state}"
    return f"{report['model']}: {where}; {metrics}{signs}{use}"
