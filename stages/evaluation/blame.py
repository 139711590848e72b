"""Which stage is to blame: every stage's output is replaced by the truth in turn, and the difference is its cost.

The systems form a ladder from the truth to the whole chain, each with one more stage that works: the teacher's sound;
its mel through the vocoder; its codes through diffusion and vocoder; the chain with the best of its candidates by WER
(the oracle); the chain. The cost of a stage is the step onto its rung, so the costs add up to the whole difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.core.route import Route
from stages.core.types import Audio, Candidates, Mel, Phonemes
from stages.evaluation.compare import NO_DIFFERENCE, Difference, mean_difference, said
from stages.evaluation.intelligibility import mean_interval, wer_difference
from stages.evaluation.measures import MEASURES
from stages.evaluation.scores import Row

RUNGS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("teacher", ()), ("vocoder", (Audio,)), ("diffusion", (Mel,)), ("oracle", (Phonemes, Candidates)), ("pipeline", ()),
)  # fmt: skip
"""(system, what the stages give that work for the first time in it); the last has all that are left"""
INSTEAD = {
    "teacher": "the teacher's sound", "vocoder": "the teacher's mel", "diffusion": "the teacher's codes",
    "oracle": "the best candidate by WER",
}  # fmt: skip
"""what a rung has in the place of the stages above it"""
_MCD = next(c for c in MEASURES["mcd"].columns if c.name == "mcd")


@dataclass(frozen=True)
class Cost:
    """What some stages cost in one voice."""

    voice: str
    stages: tuple[str, ...]
    """one where every rung was run; several where a rung between them was not"""
    truth: str
    """what stands in their place in the system `without`"""
    without: str
    with_: str
    """the systems whose difference it is"""
    wer_without: float
    wer_with: float
    wer: Difference
    """as a fraction of the words"""
    mcd: Difference | None
    """dB; None where it was not measured"""

    @property
    def name(self) -> str:
        """The stages."""
        return " + ".join(self.stages)

    @property
    def sentence(self) -> str:
        """What it costs, in words."""
        points = f"{100 * self.wer.value:+.1f} points of WER [{100 * self.wer.low:+.1f}, {100 * self.wer.high:+.1f}]"
        verb = {"worse": "costs", "better": "gains", NO_DIFFERENCE: "makes no difference:"}[self.wer.verdict]
        mcd = f", MCD {self.mcd.value:+.2f} dB [{self.mcd.low:+.2f}, {self.mcd.high:+.2f}]" if self.mcd else ""
        return f"{self.name} {verb} {points}{mcd}"

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "voice": self.voice, "stages": list(self.stages), "truth": self.truth, "without": self.without,
            "with": self.with_, "wer_without": round(self.wer_without, 5), "wer_with": round(self.wer_with, 5),
            "wer": self.wer.plain(), "mcd": self.mcd.plain() if self.mcd else None, "verdict": self.sentence,
        }  # fmt: skip


def costs(rows: Mapping[str, Row], route: Route, seed: int, draws: int) -> list[Cost]:
    """What every stage costs, from the systems of one voice; nothing where no rung between the ends was run."""
    out: list[Cost] = []
    pending: list[str] = []
    below: Row | None = None
    counted: set[str] = set()
    for system, kinds in RUNGS:
        last = system == RUNGS[-1][0]
        fresh = [n.spec.name for n in route.nodes if n.spec.name not in counted and (last or n.spec.gives in kinds)]
        counted.update(fresh)
        pending += fresh
        if system not in rows:
            continue
        if below is not None and pending:
            stages = tuple(n.spec.name for n in route.nodes if n.spec.name in pending)
            out.append(_cost(below, rows[system], stages, seed, draws))
        below, pending = rows[system], []
    return out if len(out) > 1 else []


def culprit(found: Sequence[Cost]) -> str:
    """The sentence that names the stage that costs most, of those whose cost is certain."""
    certain = [cost for cost in found if cost.wer.verdict == "worse"]
    if not certain:
        return "no stage costs a WER that this many sentences can tell from nothing"
    worst = max(certain, key=lambda cost: cost.wer.value)
    return f"most of the WER is lost in {worst.name}"


def _cost(below: Row, above: Row, stages: tuple[str, ...], seed: int, draws: int) -> Cost:
    found = wer_difference(above.counts, below.counts, seed, draws)
    wer = Difference(found.wer, found.low, found.high, len(above.counts), found.verdict)
    return Cost(
        above.voice, stages, INSTEAD[below.system], below.system, above.system, below.wer, above.wer, wer,
        _distance(below, above, seed, draws),
    )  # fmt: skip


def _distance(below: Row, above: Row, seed: int, draws: int) -> Difference | None:
    """Difference of the MCD; that of the teacher to itself is 0."""
    if below.system != "teacher":
        return mean_difference(above, below, _MCD, seed, draws)
    values = [v for v in above.values("mcd") if v is not None]
    if not values:
        return None
    low, high = mean_interval(values, seed, draws)
    return Difference(sum(values) / len(values), low, high, len(values), said(low, high, "lower"))
