"""What the listen stage is asked for, and what it needs and gives; importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from stages.core.stage import StageSpec
from stages.core.types import Audio, Heard, Phonemes, Voice


@dataclass(frozen=True)
class ListenConfig:
    """Made of `rerank.judges`; nobody writes it."""

    judges: dict[str, str]
    """judge of the sound -> package and version that it listens with ('' for none)"""


SPEC = StageSpec(
    "listen", 1, ListenConfig, needs=(Phonemes, Voice, Audio), gives=Heard, random=False, batch=16, device="cpu"
)
