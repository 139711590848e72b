"""What the diffusion stage is asked for, and what it needs and gives; importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from stages.core.stage import StageSpec
from stages.core.types import Mel, RankedCodes, Voice


@dataclass(frozen=True)
class DiffusionConfig:
    """`diffusion.*` of `--set`."""

    checkpoint: str = "artifacts/starter/diffusion"
    steps: int = 6
    """network evaluations"""
    guidance: float = 1.0
    """classifier-free guidance: out = uncond + guidance * (cond - uncond); 1 = off (one evaluation a step, not two)"""
    temperature: float = 0.15
    """standard deviation of the starting noise"""
    sampler: str = "euler"

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 1000:
            raise ValueError(f"steps must be 1 to 1000, not {self.steps}")
        if self.temperature < 0:
            raise ValueError(f"temperature must not be negative, not {self.temperature}")


SPEC = StageSpec("diffusion", 1, DiffusionConfig, needs=(RankedCodes, Voice), gives=Mel)
