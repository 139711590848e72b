"""What a run did: by stage and shard, and all in all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stages.core.units import Stop


@dataclass
class StageReport:
    """What one stage did on a shard; `calls` and `hits` count pieces (candidates, where a stage fans out)."""

    stage: str
    calls: int = 0
    hits: int = 0
    seconds: float = 0.0
    load_seconds: float = 0.0
    work: int = 0
    """characters of text times pieces computed: what `seconds` are proportional to"""
    stopped: dict[str, Stop] = field(default_factory=dict)
    """by unit key, what was known before included"""
    spent: dict[str, float] = field(default_factory=dict)
    """seconds by unit key"""
    held: frozenset[str] = frozenset()
    """keys of units that another process (or task) is computing: look again later"""
    unmet: frozenset[str] = frozenset()
    """keys of units none of whose candidates is good enough, and that may have further ones"""
    inner: list[StageReport] = field(default_factory=list)
    """what other stages did for those"""

    def absorb(self, later: StageReport) -> None:
        """Adds what was done for some of its units later; what is held (or unmet) is what is so by then."""
        self.calls += later.calls
        self.hits += later.hits
        self.seconds += later.seconds
        self.load_seconds += later.load_seconds
        self.work += later.work
        self.stopped.update(later.stopped)
        self.spent.update(later.spent)
        self.inner += later.inner
        self.held, self.unmet = later.held, later.unmet


@dataclass
class RunReport:
    """What a run did, by stage."""

    stage_calls: dict[str, int] = field(default_factory=dict)
    cache_hits: dict[str, int] = field(default_factory=dict)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    stage_work: dict[str, int] = field(default_factory=dict)
    load_seconds: float = 0.0
    stopped: dict[str, Stop] = field(default_factory=dict)
    spent: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, report: StageReport) -> None:
        """Counts what a stage did on a shard."""
        for name, value in (
            ("stage_calls", report.calls),
            ("cache_hits", report.hits),
            ("stage_seconds", report.seconds),
            ("stage_work", report.work),
        ):
            total: dict[str, Any] = getattr(self, name)
            total[report.stage] = total.get(report.stage, 0) + value
        self.load_seconds += report.load_seconds
        self.stopped.update(report.stopped)
        for key, seconds in report.spent.items():
            spent = self.spent.setdefault(key, {})
            spent[report.stage] = round(spent.get(report.stage, 0.0) + seconds, 6)
        for inner in report.inner:
            self.add(inner)
