"""What the vocoder stage is asked for, and what it needs and gives; importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from stages.core.stage import StageSpec
from stages.core.types import Audio, Mel


@dataclass(frozen=True)
class VocoderConfig:
    """`vocoder.*` of `--set`."""

    checkpoint: str = "artifacts/starter/vocoder"


SPEC = StageSpec("vocoder", 1, VocoderConfig, needs=(Mel,), gives=Audio, random=False)
