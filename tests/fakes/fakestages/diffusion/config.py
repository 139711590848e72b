from dataclasses import dataclass

from stages.core.stage import StageSpec
from stages.core.types import Mel, RankedCodes, Voice


@dataclass(frozen=True)
class DiffusionConfig:
    steps: int = 6
    guidance: float = 1.5


SPEC = StageSpec("diffusion", 1, DiffusionConfig, needs=(RankedCodes, Voice), gives=Mel)
