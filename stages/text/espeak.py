"""espeak-ng as another pronouncer: an optional program (GPL-3, so it is called, never linked or shipped)."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import lru_cache

from stages.text.g2p import G2P, Phones
from stages.text.lexicon import IPA
from stages.text.normalize import Token

_ESPEAK_IPA = IPA | {
    "ɐ": "ax", "ɜː": "er", "ɜ": "er", "iː": "iy", "uː": "uw", "ɑː": "aa", "ɔː": "ao", "oː": "ao", "tʃ": "ch",
    "dʒ": "jh", "ʔ": "t", "r": "r", "x": "k", "ɬ": "l", "aː": "aa", "a": "ae", "e": "eh", "o": "ow", "ɒ": "aa",
    "əʊ": "ow", "eː": "ey", "ɛː": "eh", "ɫ": "l", "ɪː": "ih", "ç": "hh",
}  # fmt: skip
_SYLLABIC = {"n̩": ("ax", "n"), "l̩": ("ax", "l"), "m̩": ("ax", "m"), "aɪɚ": ("ay", "er"), "aɪə": ("ay", "ax")}
_SYMBOL = re.compile("|".join(sorted(map(re.escape, {*_ESPEAK_IPA, *_SYLLABIC}), key=len, reverse=True)))


class EspeakG2P(G2P):
    """Asks espeak-ng for every word that the user's lexicon does not give; one short process per new word."""

    def __init__(self, user: dict[str, Phones] | None = None, program: str = "espeak-ng"):
        super().__init__(user)
        found = shutil.which(program)
        if found is None:
            raise ValueError(
                f"text.g2p=espeak needs the program {program!r}, which is not installed; install it "
                "(for example `apt install espeak-ng`) or use text.g2p=lexicon"
            )
        self._program = found
        self._ask = lru_cache(maxsize=50_000)(self._pronounce)

    def _token(self, index: int, tokens: tuple[Token, ...], tags: list[str]) -> Phones:
        token = tokens[index]
        if token.phones or token.word in self.user or token.word[0].isupper():
            return super()._token(index, tokens, tags)
        return self._ask(token.word) or self.out_of_lexicon(token.word)

    def _pronounce(self, word: str) -> Phones:
        argv = [self._program, "-q", "--ipa", "-v", "en-us", "--", word]
        done = subprocess.run(argv, capture_output=True, text=True, encoding="utf-8", timeout=20, check=False)
        if done.returncode:
            raise ValueError(f"espeak-ng failed on {word!r}: {done.stderr.strip() or f'exit {done.returncode}'}")
        return phones_of_espeak(done.stdout)


def phones_of_espeak(ipa: str) -> Phones:
    """espeak's IPA line as flite's phones; marks of stress and length that no phone needs are skipped."""
    phones: list[str] = []
    for symbol in _SYMBOL.findall(re.sub("[ˈˌ_\u200d\u0361]", "", ipa)):
        phones.extend(_SYLLABIC.get(symbol) or (_ESPEAK_IPA[symbol],))
    return tuple(phones)
