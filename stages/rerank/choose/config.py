"""What the choose stage is asked for, and what it needs and gives; importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from stages.core.stage import StageSpec
from stages.core.types import Audio, Candidates, Heard, Pick, RankedCodes


@dataclass(frozen=True)
class ChooseConfig:
    """Made of `rerank.judges`, `rerank.accept` and `rerank.retries`; nobody writes it."""

    judges: dict[str, float]
    accept: dict[str, float]
    retries: int


SPEC = StageSpec(
    "choose",
    1,
    ChooseConfig,
    needs=(Candidates, RankedCodes, Heard, Audio),
    gives=Audio,
    random=False,
    honours=(Pick,),
    gathers=True,
    memory_gb=2.0,  # of the stages that it may have run again
)
