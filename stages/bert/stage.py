"""The bert stage: Phonemes -> WordVectors, what a pretrained text encoder makes of the words, at their phones."""

from __future__ import annotations

from stages.bert.config import SPEC, BertConfig
from stages.core.stage import Item
from stages.core.types import Phonemes, WordVectors
from stages.nn.words import WordEncoder


class BertStage:
    """Reads sentences one by one, so that neighbours cannot change a result."""

    SPEC = SPEC

    def __init__(self, encoder: WordEncoder) -> None:
        self.encoder = encoder

    @classmethod
    def load(cls, config: BertConfig, device: str) -> BertStage:
        """Reads the encoder's folder. Raises ConfigError when there is none in it."""
        return cls(WordEncoder(config.model, device))

    def run(self, batch: list[Item], *, seeds: list[int]) -> list[WordVectors]:
        """One WordVectors per item's Phonemes, aligned as in training; nothing is random, so `seeds` is not read.

        Raises ValueError for a sentence that the encoder cannot read.
        """
        return [self._vectors(item[Phonemes]) for item in batch]

    def _vectors(self, phonemes: Phonemes) -> WordVectors:
        return WordVectors(self.encoder.at_phones(phonemes.symbols, phonemes.words), self.encoder.digest)
