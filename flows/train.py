"""The training flow: a task per model, in the order in which they need each other. Every model goes on where it was."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.runtime import call, drain_flow, progress_bars
from stages.core.config import ConfigError
from stages.training.run import OBJECTIVES, make_trainer, read_run
from stages.training.trainer import TrainingError


@task(cache_policy=NO_CACHE, persist_result=False)
def train_model(config: str, sets: list[str], minutes: float | None) -> dict[str, Any]:
    """Trains one model until its steps or the minutes end; returns model, folder, step, steps and metrics."""
    run = read_run(config, sets)
    with progress_bars() as progress:
        ready = lambda done, wanted: progress(f"{run.model}: features", done, wanted)  # noqa: E731
        trainer = make_trainer(run, progress=ready)
        step = lambda done, wanted: progress(run.model, done, wanted)  # noqa: E731
        metrics = trainer.run(minutes=math.inf if minutes is None else minutes, progress=step)
    return {
        "model": run.model, "folder": run.folder, "step": trainer.step, "steps": run.trainer.steps, "metrics": metrics,
    }  # fmt: skip


@flow(name="train", persist_result=False, log_prints=False)
def train(configs: list[str], sets: list[str] | None = None, minutes: float | None = None) -> list[dict[str, Any]]:
    """Trains models in dependency order; what is trained already is not trained again.

    Args:
        configs: files of configs/train/, or folders of them
        sets: overrides, each key=value, for every model
        minutes: stop cleanly after so many; run it again to go on

    Returns:
        a report per model that was reached.
    """
    began, reports = time.monotonic(), []
    try:
        for path in ordered(configs, sets or []):
            left = None if minutes is None else max(0.0, minutes - (time.monotonic() - began) / 60)
            if left == 0.0:
                break
            named = train_model.with_options(name="train", task_run_name=Path(path).stem)
            reports.append(named(path, sets or [], left))
            if reports[-1]["step"] < reports[-1]["steps"]:
                break  # the next one may need it whole
        return reports
    finally:
        drain_flow(len(reports))


def ordered(configs: Sequence[str], sets: Sequence[str]) -> list[str]:
    """Config files, folders opened, in dependency order. Raises ConfigError for one that cannot be read."""
    files: list[Path] = []
    for path in map(Path, configs):
        found = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        if not found:
            raise ConfigError(f"{path}: holds no .yaml file; name a training config or a folder of them")
        files += found
    order = list(OBJECTIVES)
    return [str(f) for f in sorted(dict.fromkeys(files), key=lambda f: order.index(read_run(f, list(sets)).model))]


def main(config_paths: Sequence[str], sets: Sequence[str] = (), minutes: float | None = None) -> int:
    """What `caretta train` does; 0 when every model is trained or the time box ended, 1 when one could not be."""
    count = len(ordered(config_paths, sets))
    try:
        reports = call(train, list(config_paths), list(sets), minutes)
    except TrainingError as error:
        print(f"caretta: {error}", file=sys.stderr)
        return 1
    for report in reports:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in report["metrics"].items())
        print(f"{report['model']}: step {report['step']} of {report['steps']} in {report['folder']}; {metrics}")
    done = sum(report["step"] >= report["steps"] for report in reports)
    if done < count:
        print(f"{done} of {count} models are trained; run it again to go on")
    return 0
