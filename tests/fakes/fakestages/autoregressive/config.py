from dataclasses import dataclass

from stages.core.stage import StageSpec
from stages.core.types import Candidates, Phonemes, Voice


@dataclass(frozen=True)
class AutoregressiveConfig:
    candidates: int = 8
    temperature: float = 0.8

    def __post_init__(self):
        if self.candidates < 1:
            raise ValueError(f"candidates is {self.candidates}; give 1 or more")


SPEC = StageSpec(
    "autoregressive",
    1,
    AutoregressiveConfig,
    needs=(Phonemes, Voice),
    gives=Candidates,
    fans_out=True,
    result_free=("candidates",),
)
