"""What the text stage is asked for, and what it needs and gives; importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from stages.core.stage import StageSpec
from stages.core.types import Phonemes


@dataclass(frozen=True)
class TextConfig:
    """What the text stage can be told."""

    lexicon: str = ""
    """Path of a user lexicon (`word phone phone …` lines); its words win over every other source."""
    g2p: str = "lexicon"
    """Who pronounces: 'lexicon' (the default, complete in itself) or 'espeak' (the program espeak-ng)."""

    def __post_init__(self) -> None:
        if self.g2p not in ("lexicon", "espeak"):
            raise ValueError(f"g2p is {self.g2p!r}; use 'lexicon' or 'espeak'")


SPEC = StageSpec(
    "text",
    1,
    TextConfig,
    needs=(str,),
    gives=Phonemes,
    random=False,
    files=("lexicon",),
    batch=64,
    device="cpu",
)
