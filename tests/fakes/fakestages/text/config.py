from dataclasses import dataclass

from stages.core.stage import StageSpec
from stages.core.types import Phonemes


@dataclass(frozen=True)
class TextConfig:
    lexicon: str | None = None


SPEC = StageSpec("text", 1, TextConfig, needs=(str,), gives=Phonemes, random=False, files=("lexicon",), device="cpu")
