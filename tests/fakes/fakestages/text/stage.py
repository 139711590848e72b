"""Words of letters are spoken letter by letter; 'explode' fails."""

import re

from fakestages.text.config import SPEC

from stages.core.types import Phonemes, Word


class TextStage:
    SPEC = SPEC

    @classmethod
    def load(cls, config, device):
        return cls()

    def run(self, batch, *, seeds):
        return [self.one(item[str]) for item in batch]

    def one(self, text):
        if "explode" in text:
            raise RuntimeError("boom")
        words = tuple(Word(w, tuple(w.lower())) for w in re.findall(r"[A-Za-z]+", text))
        symbols = ("pau", *(p for w in words for p in w.phones), "pau")
        return Phonemes(text, words, symbols, tuple(re.findall(r"[^\x00-\x7f]+", text)))
