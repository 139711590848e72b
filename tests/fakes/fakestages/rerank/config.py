from dataclasses import dataclass

from stages.core.stage import StageSpec
from stages.core.types import Candidates, Phonemes, Pick, RankedCodes


@dataclass(frozen=True)
class RerankConfig:
    judge: str = "clip"


SPEC = StageSpec(
    "rerank", 1, RerankConfig, needs=(Phonemes, Candidates), gives=RankedCodes, random=False, honours=(Pick,)
)
