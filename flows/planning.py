"""What a batch would compute and how long that takes, from keys and earlier measurements alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flows.batch import Job
from flows.devices import cores
from stages.core import timing
from stages.core.units import needed


@dataclass(frozen=True)
class StageForecast:
    """One stage's part; pieces are candidates where a stage fans out."""

    stage: str
    missing: int
    there: int
    seconds: float | None
    """of work, on one core or accelerator; None: not measured yet"""
    same_settings: bool = True
    """False: estimated from a run with other settings"""


@dataclass(frozen=True)
class Forecast:
    """A whole batch."""

    lines: int
    kept: int
    sentences: int
    stages: tuple[StageForecast, ...]
    workers: int
    retries: int = 0
    """further rounds of candidates that a sentence may have, which is known when it was heard"""

    @property
    def seconds(self) -> float | None:
        """Of wall time with every worker busy; None when a stage was never measured."""
        parts = [s.seconds for s in self.stages if s.missing]
        return None if any(p is None for p in parts) else sum(p for p in parts if p is not None) / self.workers

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        stages = {
            s.stage: {"missing": s.missing, "there": s.there, "seconds": s.seconds, "same_settings": s.same_settings}
            for s in self.stages
        }
        return {
            "lines": self.lines, "kept": self.kept, "open_sentences": self.sentences, "stages": stages,
            "workers": self.workers, "seconds": self.seconds, "retries": self.retries,
        }  # fmt: skip

    def told(self) -> list[str]:
        """For people."""
        out = [f"{self.lines} lines: {self.kept} written already; {self.sentences} sentences lack their sound",
               f"{'stage':16}{'to compute':>12}{'in the store':>14}{'time':>12}"]  # fmt: skip
        for s in self.stages:
            time = "-" if not s.missing else "unknown" if s.seconds is None else _clock(s.seconds)
            mark = "" if s.same_settings or not s.missing else " (from other settings)"
            out.append(f"{s.stage:16}{s.missing:12}{s.there:14}{time:>12}{mark}")
        if self.sentences and self.seconds is None:
            out.append("time unknown: a stage was never measured with this store; a first run measures it")
        elif self.sentences:
            workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
            out.append(f"about {_clock(self.seconds or 0.0)} with {workers}, loading apart")
        if self.sentences and self.retries:
            times = "once" if self.retries == 1 else f"up to {self.retries} times"
            out.append(f"at least that: as many candidates again, {times}, for each sentence below its threshold")
        return out


def forecast(job: Job) -> Forecast:
    """Looks up what is there; loads no model and writes nothing."""
    route, units = job.pipeline.route, job.open_units
    have = job.store.present({key for unit in units for step in unit.steps for key in step.keys})
    missing, work = [0] * len(route.nodes), [0] * len(route.nodes)
    for unit in units:
        for index in needed(route, unit, have):
            lacking = sum(key not in have for key in unit.steps[index].keys)
            missing[index] += lacking
            work[index] += lacking * len(unit.text)
    rates = timing.rates(route, job.store)
    every = {u.key: u for document in job.documents for u in document.units}.values()
    stages = []
    for index, node in enumerate(route.nodes):
        pieces = sum(len(unit.steps[index].keys) for unit in every)
        rate = rates[node.spec.name]
        seconds = None if rate is None else rate.seconds * work[index]
        same = rate is None or rate.same_settings
        stages.append(StageForecast(node.spec.name, missing[index], pieces - missing[index], seconds, same))
    workers = route.workers or cores()
    return Forecast(len(job.lines), job.kept, len(units), tuple(stages), workers, route.retries)


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
