"""Two systems on the same sentences: differences with paired bootstrap intervals, and what may be said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stages.evaluation.intelligibility import mean_interval, verdict, wer_difference
from stages.evaluation.measures import Column
from stages.evaluation.scores import Row, rounded

PAIRS = (
    ("pipeline", "teacher"), ("pipeline", "random"), ("pipeline", "oracle"), ("vocoder", "teacher"),
    ("codes", "vocoder"), ("diffusion", "vocoder"), ("diffusion", "codes"), ("pipeline", "diffusion"),
)  # fmt: skip
"""(ours, theirs): which systems of the one route are compared when both were run"""
NO_DIFFERENCE = "no difference"


@dataclass(frozen=True)
class Difference:
    """One number of ours minus theirs over the sentences that both have."""

    value: float
    low: float
    high: float
    """95 % paired bootstrap interval"""
    items: int
    verdict: str
    """better, worse or `no difference`; where neither direction is better, higher or lower"""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "difference": rounded(self.value), "low": rounded(self.low), "high": rounded(self.high),
            "items": self.items, "verdict": self.verdict,
        }  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Two systems in one voice."""

    voice: str
    ours: str
    theirs: str
    wer: Difference
    """as a fraction of the words"""
    ratio: float | None
    """our WER over theirs; None when theirs is 0"""
    measures: dict[str, Difference]
    """by column"""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        found = {name: difference.plain() for name, difference in self.measures.items()}
        ours = {"voice": self.voice, "ours": self.ours, "theirs": self.theirs}
        return ours | {"wer": self.wer.plain(), "wer_ratio": rounded(self.ratio), "measures": found}

    def sentence(self, columns: Sequence[Column]) -> str:
        """What was found, in one line."""
        ratio = f", {self.ratio:.2f} times" if self.ratio is not None else ""
        parts = [
            f"{self.voice}: {self.ours} - {self.theirs}: {100 * self.wer.value:+.2f} points of WER "
            f"({100 * self.wer.low:+.2f} to {100 * self.wer.high:+.2f}{ratio}): {self.wer.verdict}"
        ]
        for column in columns:
            found = self.measures.get(column.name)
            if found is not None and column.shown and column.better:
                digits = column.digits + 1
                parts.append(
                    f"{column.title} {found.value:+.{digits}f} ({found.low:+.{digits}f} to {found.high:+.{digits}f}): "
                    f"{found.verdict}"
                )
        return "; ".join(parts)


def pairs(names: Sequence[str], reference: str, baseline: str) -> list[tuple[str, str]]:
    """Which systems to compare: the known PAIRS, and what is in none of them with the baseline and the reference."""
    found = [(ours, theirs) for ours, theirs in PAIRS if ours in names and theirs in names]
    known = {name for pair in PAIRS for name in pair}
    for name in names:
        for other in dict.fromkeys((baseline, reference)):
            if other in names and name != other and (name not in known or other not in known):
                if (other, name) not in found and (name, other) not in found and name != reference:
                    found.append((name, other))
    return found


def compared(ours: Row, theirs: Row, columns: Sequence[Column], seed: int, draws: int) -> Comparison:
    """Ours against theirs. Raises ValueError when their sentences are not the same."""
    found = wer_difference(ours.counts, theirs.counts, seed, draws)
    wer = Difference(found.wer, found.low, found.high, len(ours.counts), found.verdict)
    measures = {c.name: d for c in columns if (d := mean_difference(ours, theirs, c, seed, draws)) is not None}
    return Comparison(
        ours.voice, ours.system, theirs.system, wer, ours.wer / theirs.wer if theirs.wer else None, measures
    )


def mean_difference(ours: Row, theirs: Row, column: Column, seed: int, draws: int) -> Difference | None:
    """Difference of a measure's means over the sentences that both have; None when they share none."""
    values = zip(ours.values(column.name), theirs.values(column.name), strict=True)
    shared = [a - b for a, b in values if a is not None and b is not None]
    if not shared:
        return None
    low, high = mean_interval(shared, seed, draws)
    return Difference(sum(shared) / len(shared), low, high, len(shared), said(low, high, column.better))


def said(low: float, high: float, better: str) -> str:
    """What an interval of a difference allows to say."""
    if not better:
        return "higher" if low > 0 else "lower" if high < 0 else NO_DIFFERENCE
    return verdict(low, high) if better == "lower" else verdict(-high, -low)
