"""What the stress stage is asked for, and what it needs and gives; importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from stages.core.stage import StageSpec
from stages.core.types import Phonemes, Tones


@dataclass(frozen=True)
class StressConfig:
    """Nothing can be told: the words and their phones say all."""


SPEC = StageSpec("stress", 1, StressConfig, needs=(Phonemes,), gives=Tones, random=False, batch=64, device="cpu")
