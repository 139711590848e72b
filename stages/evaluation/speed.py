"""Speed: seconds of work per second of speech by stage, of what was computed in this run, and the peak memory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stages.core.reports import RunReport


@dataclass(frozen=True)
class StageSpeed:
    """What one stage took; loading of weights is not in it."""

    stage: str
    seconds: float
    """of work in this run"""
    audio_seconds: float
    """of the speech of the sentences that it worked for in this run"""

    @property
    def rtf(self) -> float | None:
        """Seconds of work per second of speech; None when every result came from the cache."""
        return self.seconds / self.audio_seconds if self.audio_seconds else None


@dataclass(frozen=True)
class Alone:
    """What a route took in a process of its own, with nothing cached and the weights loaded."""

    rtf: float
    """seconds of work per second of speech, from text to sound, one thread"""
    cpu_rtf: float
    """seconds of CPU per second of speech: what the machine does beside it does not count"""
    rtf_by_stage: dict[str, float]
    seconds_of_speech: float
    sentences: int
    """that were timed"""
    load_seconds: float
    """of reading the weights"""
    warm_seconds: float
    """until the first sentence was spoken, loading included; 0 with one sentence only"""
    peak_bytes: int
    """the most memory that the process held"""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(self).items()}


def stage_speeds(report: RunReport, audio_seconds: Mapping[str, float]) -> list[StageSpeed]:
    """Every stage of a run, in order.

    Args:
        audio_seconds: by unit key; sentences without audio are left out on both sides.
    """
    speeds = []
    for stage in report.stage_calls:
        done = {k: by[stage] for k, by in report.spent.items() if stage in by and k in audio_seconds}
        speeds.append(StageSpeed(stage, sum(done.values()), sum(audio_seconds[k] for k in done)))
    return speeds


def total_rtf(speeds: Sequence[StageSpeed]) -> float | None:
    """RTF of the chain; None when a stage computed nothing in this run, for then it is not known."""
    known = [s.rtf for s in speeds if s.rtf is not None]
    return sum(known) if speeds and len(known) == len(speeds) else None


def peak_memory() -> int:
    """Bytes: the most that this process has held at once (its recogniser processes not included)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
