"""What the autoregressive stage is asked for, and what it needs and gives; importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from stages.core.stage import StageSpec
from stages.core.types import Candidates, Phonemes, Voice


@dataclass(frozen=True)
class AutoregressiveConfig:
    """`autoregressive.*` of `--set`."""

    checkpoint: str = "artifacts/starter/autoregressive"
    candidates: int = 8
    temperature: float = 0.5
    top_p: float = 0.9
    top_k: int = 0
    """0 = no limit"""
    repetition_penalty: float = 1.0
    """logits of codes seen in the last `repetition_window` are divided (multiplied, when negative) by this; 1 = off"""
    repetition_window: int = 16
    duration_temperature: float = 0.6
    """temperature of the choice to stay on a phone or move on"""
    max_codes_per_phone: float = 6.0
    """length guard: no candidate has more codes per phone symbol than this; one that reaches it is `truncated`"""

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise ValueError(f"candidates must be at least 1, not {self.candidates}")
        if self.temperature <= 0 or self.duration_temperature <= 0:
            raise ValueError("temperature and duration_temperature must be above 0")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], not {self.top_p}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (no limit) or more, not {self.top_k}")
        if self.repetition_penalty <= 0:
            raise ValueError("repetition_penalty must be above 0")


SPEC = StageSpec(
    "autoregressive",
    3,
    AutoregressiveConfig,
    needs=(Phonemes, Voice),
    gives=Candidates,
    fans_out=True,
    result_free=("candidates",),
)
