"""What one system scored in one voice: every sentence, and the numbers over all of them with their intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from stages.evaluation.bench import Clip, Output, Sentence
from stages.evaluation.intelligibility import (
    Counts,
    WordErrors,
    count,
    error_rates,
    mean_interval,
    wer_interval,
    worst_words,
)
from stages.evaluation.measures import Score, Scores
from stages.evaluation.phone_errors import PhoneReport
from stages.evaluation.speed import Alone, StageSpeed, total_rtf

Interval = tuple[float, float]


@dataclass(frozen=True)
class ItemScore:
    """One sentence of one system; what cannot be measured has its reason and is counted, never averaged away."""

    id: str
    text: str
    reference: str
    heard: str
    wer: float
    scores: dict[str, Score]
    seconds: float | None
    error: str | None
    faults: tuple[str, ...]

    @property
    def notes(self) -> list[str]:
        """What is wrong with it: marks of the chain, what measures found, the error."""
        found = [score.note for score in self.scores.values() if score.note]
        return [*self.faults, *found, *([self.error] if self.error else [])]

    def plain(self) -> dict[str, Any]:
        """For JSON: the numbers by column, and the reasons of those that are missing."""
        out = asdict(self) | {"scores": {name: rounded(s.value) for name, s in self.scores.items()}}
        out["notes"] = self.notes
        return out | {"missing": {name: s.reason for name, s in self.scores.items() if s.value is None}}


@dataclass(frozen=True)
class Mean:
    """A measure over the sentences that have it."""

    value: float
    low: float
    high: float
    items: int
    """sentences that have it"""


@dataclass(frozen=True, eq=False)
class Row:
    """One system in one voice."""

    voice: str
    system: str
    spoken: int
    """items with sound and without error, out of `items`; part of a sentence's sound is scored, but is not coverage"""
    items: list[ItemScore]
    counts: list[Counts]
    interval: Interval
    """of the WER"""
    worst: list[WordErrors]
    means: dict[str, Mean]
    """by column; a column that no sentence has is not in it"""
    whole: dict[str, Score]
    """measures of all sentences together, by column"""
    speeds: list[StageSpeed]
    notes: tuple[str, ...] = ()
    alone: Alone | None = None
    phones: PhoneReport | None = None
    """which phones are worst, where they were listened to"""
    clips: list[Clip] = field(default_factory=list, repr=False)

    @property
    def wer(self) -> float:
        """Over the corpus."""
        return error_rates(self.counts)[0]

    @property
    def cer(self) -> float:
        """Over the corpus."""
        return error_rates(self.counts)[1]

    @property
    def rtf(self) -> float | None:
        """Seconds of work per second of speech: measured alone where it was, else of this run; None when not known."""
        return self.alone.rtf if self.alone else total_rtf(self.speeds)

    def mean(self, name: str) -> float | None:
        """Mean of a column over the sentences that have it; None when none has."""
        return self.means[name].value if name in self.means else None

    def measured(self, name: str) -> int:
        """Number of sentences that have a column."""
        return self.means[name].items if name in self.means else 0

    def values(self, name: str) -> list[float | None]:
        """A column by sentence."""
        return [item.scores[name].value if name in item.scores else None for item in self.items]

    def missing(self, name: str) -> dict[str, int]:
        """Why sentences lack a column, and how many."""
        scores = [item.scores[name] for item in self.items if name in item.scores]
        return dict(Counter(score.reason for score in scores if score.value is None))

    def summary(self) -> dict[str, Any]:
        """Plain numbers, coverage first; error rates are fractions."""
        out: dict[str, Any] = {
            "voice": self.voice, "system": self.system, "items": len(self.items), "spoken": self.spoken,
            "coverage": round(self.spoken / len(self.items), 4), "wer": round(self.wer, 5),
            "wer_low": round(self.interval[0], 5), "wer_high": round(self.interval[1], 5), "cer": round(self.cer, 5),
        }  # fmt: skip
        names = dict.fromkeys(name for item in self.items for name in item.scores)
        out["measures"] = {name: self._measure(name) for name in names}
        out["measures"] |= {name: {"value": rounded(s.value), "reason": s.reason} for name, s in self.whole.items()}
        out |= {"rtf": rounded(self.rtf), "rtf_by_stage": {s.stage: rounded(s.rtf) for s in self.speeds}}
        out |= {"alone": self.alone.plain() if self.alone else None, "notes": list(self.notes)}
        return out | {"faults": sum(bool(item.faults) for item in self.items)}

    def _measure(self, name: str) -> dict[str, Any]:
        mean = self.means.get(name)
        numbers = {k: rounded(getattr(mean, k)) if mean else None for k in ("value", "low", "high")}
        return numbers | {"items": self.measured(name), "missing": self.missing(name)}


def assess(
    voice: str, system: str, sentences: Sequence[Sentence], output: Output, heard: Sequence[str], scores: Scores,
    whole: Scores, seed: int, draws: int,
) -> Row:  # fmt: skip
    """Scores what a system gave: error rates against the references, and the measures' own scores."""
    counts = [count(s.reference, h) for s, h in zip(sentences, heard, strict=True)]
    items = [
        ItemScore(
            s.id, s.text, s.reference, h, round(c.word_errors / c.words, 4),
            {name: column[n] for name, column in scores.items()},
            clip.audio.samples.size / clip.audio.sample_rate if clip.audio else None, clip.error, clip.faults,
        )
        for n, (s, h, c, clip) in enumerate(zip(sentences, heard, counts, output.clips, strict=True))
    ]  # fmt: skip
    means = {name: mean for name, column in scores.items() if (mean := _mean(column, seed, draws)) is not None}
    return Row(
        voice, system, sum(c.audio is not None and c.error is None for c in output.clips), items, counts,
        wer_interval(counts, seed, draws), worst_words([s.reference for s in sentences], list(heard)), means,
        {name: column[0] for name, column in whole.items()}, output.speeds, output.notes, clips=output.clips,
    )  # fmt: skip


def _mean(column: Sequence[Score], seed: int, draws: int) -> Mean | None:
    values = [score.value for score in column if score.value is not None]
    if not values:
        return None
    return Mean(sum(values) / len(values), *mean_interval(values, seed, draws), len(values))


def rounded(value: float | None, digits: int = 4) -> float | None:
    """`value` as reports hold it."""
    return None if value is None else round(value, digits)
