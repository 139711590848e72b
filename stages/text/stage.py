"""The text stage: English text to phones, deterministic and without torch."""

from __future__ import annotations

from collections.abc import Sequence

from stages.core.stage import Item, NothingToSay
from stages.core.types import PAUSE, Phonemes, Word
from stages.text.config import SPEC, TextConfig
from stages.text.espeak import EspeakG2P
from stages.text.g2p import G2P, Phones
from stages.text.lexicon import read_user_lexicon
from stages.text.normalize import Token, normalize

__all__ = ["NothingToSay", "TextConfig", "TextStage"]


class TextStage:
    """Normalises and pronounces sentences; long text is cut by `split_sentences` first."""

    SPEC = SPEC

    def __init__(self, g2p: G2P):
        self._g2p = g2p

    @classmethod
    def load(cls, config: TextConfig, device: str = "cpu") -> TextStage:
        """Reads the user's lexicon (ValueError names a bad line); `device` is of no use to text."""
        user = read_user_lexicon(config.lexicon) if config.lexicon else {}
        if config.g2p not in ("lexicon", "espeak"):
            raise ValueError(f"text.g2p is {config.g2p!r}; use 'lexicon' or 'espeak'")
        return cls(EspeakG2P(user) if config.g2p == "espeak" else G2P(user))

    def run(self, batch: list[Item], *, seeds: Sequence[int] | None = None) -> list[Phonemes]:
        """One Phonemes per item's text (`str`), in order; nothing is random, so `seeds` is not read.

        Raises NothingToSay for a text without a word, ValueError for unknown inline phones.
        """
        return [self._phonemes(item[str]) for item in batch]

    def _phonemes(self, text: str) -> Phonemes:
        normalized = normalize(text, self._g2p.known)
        if not normalized.words:
            shown = text if len(text) <= 40 else text[:39] + "…"
            raise NothingToSay(f"there is nothing to say in {shown!r}: it has no English word, number or symbol")
        phones = self._g2p(normalized.tokens)
        words = tuple(Word(word, sounds) for word, sounds in zip(normalized.words, phones, strict=True))
        assert all(word.phones for word in words), "every spoken word has at least one phone"
        return Phonemes(text, words, _symbols(normalized.tokens, phones), normalized.unspoken)


def _symbols(tokens: tuple[Token, ...], phones: list[Phones]) -> tuple[str, ...]:
    """The phones with a pause at both ends and at each break, never two pauses in a row."""
    symbols = [PAUSE]
    sounds = iter(phones)
    for token in tokens:
        if token.word:
            symbols.extend(next(sounds))
        elif symbols[-1] != PAUSE:
            symbols.append(PAUSE)
    if symbols[-1] != PAUSE:
        symbols.append(PAUSE)
    return tuple(symbols)
