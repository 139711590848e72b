from dataclasses import dataclass

from stages.core.stage import StageSpec
from stages.core.types import Audio, Mel


@dataclass(frozen=True)
class VocoderConfig:
    gain: float = 0.1


SPEC = StageSpec("vocoder", 1, VocoderConfig, needs=(Mel,), gives=Audio, random=False)
