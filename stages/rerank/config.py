"""What the rerank stage is asked for, and what it needs and gives; importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from stages.core.stage import StageSpec
from stages.core.types import Candidates, Phonemes, Pick, RankedCodes


@dataclass(frozen=True)
class RerankConfig:
    """`rerank.*` of `--set`."""

    checkpoint: str = "artifacts/starter/rerank"
    judges: dict[str, float] = field(
        default_factory=lambda: {"clip": 0.1, "phones": 3.0, "log_prob": 2.0, "faults": 10.0}
    )
    """judge -> weight; the candidate with the highest weighted sum of scores is taken"""

    def __post_init__(self) -> None:
        if not self.judges:
            raise ValueError("judges must name at least one judge, for example {clip: 1.0}")


SPEC = StageSpec(
    "rerank", 1, RerankConfig, needs=(Phonemes, Candidates), gives=RankedCodes, random=False, honours=(Pick,)
)
