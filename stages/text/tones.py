"""Tones: in English the lexical stress of each phone, found by a word's spelling and the phones it was given.

MeloTTS gives English phones such tones as well (it numbers them by CMUdict's digit + 1: unstressed 1, primary 2,
secondary 3). The words of a sentence and the lexicon are enough to know them, so that phones need not carry them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from functools import lru_cache

from stages.core.symbols import VOWELS
from stages.core.types import NO_TONE, PAUSE, PRIMARY, SECONDARY, UNSTRESSED, Phonemes, Word
from stages.text.g2p import G2P, Phones
from stages.text.lexicon import bare

Tones = tuple[int, ...]


class WordTones:
    """Looks up words one by one; safe to share between threads."""

    def __init__(self) -> None:
        self._g2p = G2P(marked=True)
        self._of = lru_cache(maxsize=50_000)(self._look_up)

    def __call__(self, word: Word) -> Tones:
        """The tone of each phone of a word; all NO_TONE when its phones are like nothing that is known of it.

        Phones that are a listed pronunciation, or that word formation, the CRF or spelling gives, have its stress;
        others (a user's) that of the first listed one with as many vowels, vowel by vowel.
        """
        return self._of(word.spoken, word.phones)

    def _look_up(self, spoken: str, phones: Phones) -> Tones:
        listed = list(self._listed(spoken))
        for marked in (*listed, self._made_up(spoken)):
            if bare(marked) == phones:
                return tones_of_marked(marked)
        alike = next((marked for marked in listed if _vowels(bare(marked)) == _vowels(phones)), None)
        if alike is None:
            return (NO_TONE,) * len(phones)
        stress = (tone for tone in tones_of_marked(alike) if tone != NO_TONE)
        return tuple(next(stress) if phone in VOWELS else NO_TONE for phone in phones)

    def _listed(self, spoken: str) -> Iterator[Phones]:
        """Marked phones of a word as it is listed, the usual first."""
        if spoken[:1].isupper():
            yield self._g2p.letter(spoken)
        elif spoken == "the":
            yield from (("dh", "ax"), ("dh", "iy"))  # the lexicon stresses the form before vowels
        else:
            yield from (variant.phones for variant in self._g2p.lexicon.variants(spoken))

    def _made_up(self, spoken: str) -> Phones:
        """Marked phones by the other ways of the G2P; () for inline phones, which stand in the place of a word."""
        letters = spoken.replace("'", "")
        return self._g2p.out_of_lexicon(spoken) if letters.isalpha() and letters.islower() else ()


def tones_of_marked(phones: Phones) -> Tones:
    """Marked phones -> tones. A second primary stress (of a compound, of spelled letters) counts as secondary."""
    out: list[int] = []
    for phone in phones:
        if phone.rstrip("12") not in VOWELS:
            out.append(NO_TONE)
        elif phone.endswith("1"):
            out.append(SECONDARY if PRIMARY in out else PRIMARY)
        else:
            out.append(SECONDARY if phone.endswith("2") else UNSTRESSED)
    return tuple(out)


def tones_of_symbols(phonemes: Phonemes, find: WordTones) -> Tones:
    """(P) the tone of each symbol of a sentence; pauses have none."""
    tones = iter([tone for word in phonemes.words for tone in find(word)])
    return tuple(NO_TONE if symbol == PAUSE else next(tones) for symbol in phonemes.symbols)


def tones_of_said(said: Sequence[str], words: Sequence[Word], find: WordTones) -> list[int]:
    """(P) tones of the phones that were really said, from the words of the text.

    Phones that both have in the same order have the tone of the text's phone; where others were said, vowels stand
    for vowels as long as there are as many of them. A reduced vowel (`ax`) that the text does not have is unstressed,
    any other vowel then has NO_TONE: nobody knows.
    """
    places = [p for p, phone in enumerate(said) if phone != PAUSE]
    spoken = [said[p] for p in places]
    wanted = [phone for word in words for phone in word.phones]
    tones = [tone for word in words for tone in find(word)]
    out = [UNSTRESSED if phone == "ax" else NO_TONE for phone in said]
    match = difflib.SequenceMatcher(None, spoken, wanted, autojunk=False)
    for kind, a, a_end, b, b_end in match.get_opcodes():
        here = [n for n in range(a, a_end) if spoken[n] in VOWELS]
        there = [n for n in range(b, b_end) if wanted[n] in VOWELS]
        if len(here) == len(there):
            for n, m in zip(here, there, strict=True):
                if kind == "equal" or spoken[n] != "ax":
                    out[places[n]] = tones[m]
    return out


def _vowels(phones: Phones) -> int:
    return sum(phone in VOWELS for phone in phones)
