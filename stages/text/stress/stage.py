"""The stress stage: Phonemes -> Tones, deterministic and without torch.

A stage of its own, so that the text stage and all that was kept of it stay as they are for models without tones.
"""

from __future__ import annotations

from collections.abc import Sequence

from stages.core.stage import Item
from stages.core.types import Phonemes, Tones
from stages.text.stress.config import SPEC, StressConfig
from stages.text.tones import WordTones, tones_of_symbols


class StressStage:
    """Looks up the stress of the words that the text stage pronounced."""

    SPEC = SPEC

    def __init__(self) -> None:
        self._find = WordTones()

    @classmethod
    def load(cls, config: StressConfig, device: str = "cpu") -> StressStage:
        """`device` is of no use to text."""
        return cls()

    def run(self, batch: list[Item], *, seeds: Sequence[int] | None = None) -> list[Tones]:
        """One Tones per item's Phonemes, in order; nothing is random, so `seeds` is not read."""
        return [Tones(tones_of_symbols(item[Phonemes], self._find)) for item in batch]
