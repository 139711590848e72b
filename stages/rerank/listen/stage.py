"""The listen stage: the sound of a candidate -> what recogniser, speaker encoder and clock measure in it."""

from __future__ import annotations

from stages.core.stage import Item
from stages.core.types import Audio, Heard, Phonemes, Voice
from stages.rerank.listen.config import SPEC, ListenConfig
from stages.rerank.listeners import LISTENERS


class ListenStage:
    """Measures only: what counts how much, and what is good enough, is decided when all candidates were heard."""

    SPEC = SPEC

    def __init__(self, config: ListenConfig) -> None:
        self.config = config

    @classmethod
    def load(cls, config: ListenConfig, device: str) -> ListenStage:
        """Listens on the CPU whatever the device is: what is heard then does not depend on it."""
        return cls(config)

    def run(self, batch: list[Item], *, seeds: list[int]) -> list[Heard]:
        """What was heard in each item's sound; nothing is random."""
        return [self._hear(item[Phonemes], item[Voice], item[Audio]) for item in batch]

    def _hear(self, phonemes: Phonemes, voice: Voice, audio: Audio) -> Heard:
        found = [LISTENERS[name].hear(phonemes, voice, audio) for name in self.config.judges]
        transcript = next((heard.transcript for heard in found if heard.transcript is not None), None)
        return Heard({name: value for heard in found for name, value in heard.measures.items()}, transcript)
