"""Words to phones: lexicon, then word formation, then a CRF, then spelling. Pure Python but for two CRF models.

The conventions are flite's, because the acoustic models learn from flite: `ax` for every reduced vowel, `er` for
every r-coloured one, no flaps, no stress. (A `marked` G2P keeps the stress as digits; `tones.py` asks it.)
"""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Any

from stages.core.symbols import VOICELESS, VOWELS
from stages.text.heteronyms import choose
from stages.text.lexicon import Lexicon, bare, phones_of_ipa, resources
from stages.text.normalize import Token
from stages.text.tagging import Tagger

Phones = tuple[str, ...]

_LETTER_PHONES = (
    "ey1|b iy1|s iy1|d iy1|iy1|eh1 f|jh iy1|ey1 ch|ay1|jh ey1|k ey1|eh1 l|eh1 m|eh1 n|ow1|p iy1|k y uw1|aa1 r|eh1 s|"
    "t iy1|y uw1|v iy1|d ah1 b ax l y uw|eh1 k s|w ay1|z iy1"
)
_MARKED_LETTERS: dict[str, Phones] = {
    letter: tuple(phones.split())
    for letter, phones in zip("abcdefghijklmnopqrstuvwxyz", _LETTER_PHONES.split("|"), strict=True)
}
LETTERS: dict[str, Phones] = {letter: bare(phones) for letter, phones in _MARKED_LETTERS.items()}

_EXTRA_LINES = """
a ax
the dh ax
of ah1 v
was w aa1 z
on aa1 n
for f ao1 r
from f r ah1 m
with w ih1 dh
than dh ae1 n
can k ae1 n
because b ih k ao1 z
your y ao1 r
yours y ao1 r z
want w aa1 n t
wanted w aa1 n t ax d
wants w aa1 n t s
watch w aa1 ch
wash w aa1 sh
hello hh ax l ow1
new n uw1
news n uw1 z
often ao1 f ax n
soft s aa1 f t
every eh1 v er iy
different d ih1 f er ax n t
several s eh1 v r ax l
family f ae1 m ax l iy
information ih2 n f er m ey1 sh ax n
government g ah1 v er m ax n t
interesting ih1 n t r ax s t ih ng
interested ih1 n t r ax s t ax d
interest ih1 n t r ax s t
temperature t eh1 m p r ax ch er
library l ay1 b r eh2 r iy
february f eh1 b y uw eh2 r iy
direct d er eh1 k t
covid k ow1 v ih d
miz m ih1 z
caretta k ax r eh1 t ax
tortoise t ao1 r t ax s
asap ey1 s ae2 p
gpt jh iy2 p iy2 t iy1
blog b l ao1 g
vlog v l ao1 g
selfie s eh1 l f iy
emoji ih m ow1 jh iy
wiki w ih1 k iy
github g ih1 t hh ah2 b
linux l ih1 n ax k s
tis t ih1 z
twas t w aa1 z
em ax m
til t ih1 l
cause k ah1 z
bout ax b aw1 t
n ax n
hmm hh ax1 m
mm ax1 m
shh sh
ok ow2 k ey1
etc eh t s eh1 t er ax
mebibyte m eh1 b ih b ay2 t
kibibyte k ih1 b ih b ay2 t
gibibyte g ih1 b ih b ay2 t
"""
_MARKED_EXTRA: dict[str, Phones] = {
    word: tuple(phones) for word, *phones in map(str.split, _EXTRA_LINES.strip().splitlines())
}
EXTRA: dict[str, Phones] = {word: bare(phones) for word, phones in _MARKED_EXTRA.items()}
"""Words that the lexicon lacks and the CRF gets wrong, and the few where its citation form is not what is said."""


class G2P:
    """Grapheme to phoneme over a whole sentence: heteronyms and 'the' look at their neighbours."""

    def __init__(self, user: dict[str, Phones] | None = None, marked: bool = False):
        """`marked`: stressed vowels end on 1 (primary) or 2 (secondary), for single words; a sentence needs none."""
        self.user = user or {}
        self.marked = marked
        self.extra, self.letters = (_MARKED_EXTRA, _MARKED_LETTERS) if marked else (EXTRA, LETTERS)
        self.lexicon = Lexicon(marked=marked)
        self.tagger = Tagger()
        self.out_of_lexicon = lru_cache(maxsize=20_000)(self._out_of_lexicon)

    def known(self, word: str) -> bool:
        """Whether a lower-case word has a listed pronunciation."""
        return word in self.user or word in self.extra or word in self.lexicon

    def __call__(self, tokens: tuple[Token, ...]) -> list[Phones]:
        """Phones for every word of `tokens` in order (breaks have none); each has at least one phone."""
        tags = self._tags(tokens)
        phones = [self._token(index, tokens, tags) for index, token in enumerate(tokens) if token.word]
        words = [token.word for token in tokens if token.word]
        for index, word in enumerate(words[:-1]):
            if word == "the" and "the" not in self.user and phones[index + 1][0] in VOWELS:
                phones[index] = ("dh", "iy")
        return phones

    def _tags(self, tokens: tuple[Token, ...]) -> list[str]:
        """Parts of speech, only worked out when some word's sound depends on them."""
        if any(len(self.lexicon.variants(token.word)) > 1 for token in tokens if token.word):
            return self.tagger([token.written for token in tokens])
        return [""] * len(tokens)

    def _token(self, index: int, tokens: tuple[Token, ...], tags: list[str]) -> Phones:
        token = tokens[index]
        if token.phones:
            return token.phones
        if token.word[0].isupper():
            return self.letter(token.word)
        word = token.word
        if word in self.user or word in self.extra:
            return self.user.get(word) or self.extra[word]
        chosen = choose(index, [t.word for t in tokens], [t.written for t in tokens], tags, self.lexicon.variants(word))
        return chosen or self.out_of_lexicon(word)

    def letter(self, word: str) -> Phones:
        """The name of a letter, with a plural or possessive ending when there is one ('Cs', "I's")."""
        phones = self.letters[word[0].lower()]
        return phones + plural_ending(phones) if len(word) > 1 else phones

    def _base(self, word: str) -> Phones | None:
        """A listed pronunciation, or None."""
        if word in self.user or word in self.extra:
            return self.user.get(word) or self.extra[word]
        variants = self.lexicon.variants(word)
        return variants[0].phones if variants else None

    def _out_of_lexicon(self, word: str) -> Phones:
        return self._base(word) or self._formed(word) or self._compound(word) or self._guess(word) or self._spell(word)

    def _formed(self, word: str) -> Phones | None:
        """A listed word plus a regular ending: possessive, plural, past, -ing, -er, -ly, -ness, un-…"""
        if word.endswith("'s"):
            stem = self.out_of_lexicon(word[:-2])
            return stem + plural_ending(stem)
        if word.endswith("s'") or word.startswith("'"):
            return self.out_of_lexicon(word.strip("'"))
        for written, ending in _CONTRACTIONS.items():
            if word.endswith(written) and len(word) > len(written):
                return self.out_of_lexicon(word[: -len(written)]) + ending
        if "'" in word:  # o'neil, y'all: no rule, but neither is it spelled
            return self.out_of_lexicon(word.replace("'", ""))
        for suffix, regular in _SUFFIXES:
            if word.endswith(suffix) and len(word) > len(suffix) + 2:
                listed = self._stem(word[: -len(suffix)], suffix)
                if listed:
                    return listed + (regular if isinstance(regular, tuple) else regular(listed))
        for prefix, beginning in _PREFIXES.items():
            if word.startswith(prefix) and len(word) > len(prefix) + 3:
                listed = self._base(word[len(prefix) :])
                if listed:
                    return beginning + listed
        return None

    def _stem(self, stem: str, suffix: str) -> Phones | None:
        """The listed word that `suffix` was put on, undoing a dropped e, a doubled consonant, y to i."""
        candidates = [stem]
        if suffix[0] in "ei":
            candidates.append(stem + "e")
            if len(stem) > 3 and stem[-1] == stem[-2]:
                candidates.insert(0, stem[:-1])
        if suffix[0] in "eln" and stem.endswith("i"):
            candidates.append(stem[:-1] + "y")
        if suffix == "es":
            candidates = [stem] if stem.endswith(("s", "x", "z", "ch", "sh", "o")) else []
        return next((phones for word in candidates if len(word) > 2 and (phones := self._base(word))), None)

    def _compound(self, word: str) -> Phones | None:
        """Two listed words written as one ('doorstop'): the longest first part of at least three letters."""
        if "'" in word or not 7 <= len(word) <= 30:
            return None
        for cut in range(len(word) - 3, 2, -1):
            left, right = word[:cut], word[cut:]
            if left[-1] == "s" and left[:-1] in self.lexicon and "s" + right in self.lexicon:
                continue  # door+stoppers, not doors+toppers
            if left in self.lexicon and right in self.lexicon:
                return (self._base(left) or ()) + (self._base(right) or ())
        return None

    def _guess(self, word: str) -> Phones | None:
        """The CRF's guess; None for what has no vowel letter, which people spell."""
        if not set(word) & set("aeiouy") or len(word) > 60:
            return None
        phones = phones_of_ipa(_g2p_model_tag(word), self.marked)
        return phones if set(bare(phones)) & (VOWELS | {"er"}) else None

    def _spell(self, word: str) -> Phones:
        """Letter by letter: the last resort, so that no word is ever lost."""
        phones = tuple(phone for letter in word for phone in self.letters.get(letter, ()))
        assert phones, f"{word!r} has no letters"
        return phones


def plural_ending(stem: Phones) -> Phones:
    """'s' after a voiceless phone, 'ax z' after a sibilant, else 'z'."""
    if stem[-1] in ("s", "z", "sh", "zh", "ch", "jh"):
        return ("ax", "z")
    return ("s",) if stem[-1] in VOICELESS else ("z",)


def past_ending(stem: Phones) -> Phones:
    """'t' after a voiceless phone, 'ax d' after t or d, else 'd'."""
    if stem[-1] in ("t", "d"):
        return ("ax", "d")
    return ("t",) if stem[-1] in VOICELESS else ("d",)


_CONTRACTIONS = {
    "n't": ("ax", "n", "t"), "'ll": ("ax", "l"), "'d": ("d",), "'ve": ("ax", "v"), "'re": ("er",), "'m": ("m",),
}  # fmt: skip
_SUFFIXES = (
    ("ingly", ("ih", "ng", "l", "iy")), ("ing", ("ih", "ng")), ("edly", ("ax", "d", "l", "iy")),
    ("ness", ("n", "ax", "s")), ("less", ("l", "ax", "s")), ("ment", ("m", "ax", "n", "t")), ("ful", ("f", "ax", "l")),
    ("able", ("ax", "b", "ax", "l")), ("ists", ("ih", "s", "t", "s")), ("ist", ("ih", "s", "t")),
    ("ish", ("ih", "sh")), ("ers", ("er", "z")), ("ies", ("z",)), ("est", ("ax", "s", "t")), ("er", ("er",)),
    ("ed", past_ending), ("ly", ("l", "iy")), ("es", plural_ending), ("s", plural_ending), ("y", ("iy",)),
)  # fmt: skip
_PREFIXES = {
    "un": ("ah", "n"), "re": ("r", "iy"), "non": ("n", "aa", "n"), "pre": ("p", "r", "iy"), "mis": ("m", "ih", "s"),
    "anti": ("ae", "n", "t", "iy"), "multi": ("m", "ah", "l", "t", "iy"), "semi": ("s", "eh", "m", "iy"),
    "micro": ("m", "ay", "k", "r", "ow"), "cyber": ("s", "ay", "b", "er"), "hyper": ("hh", "ay", "p", "er"),
}  # fmt: skip


@lru_cache(maxsize=1)
def _g2p_model() -> Any:
    import pycrfsuite

    tagger = pycrfsuite.Tagger()
    tagger.open(str(resources() / "g2p" / "model.crf"))
    return tagger


def _g2p_model_tag(word: str) -> list[str]:
    """IPA symbols of gruut_lang_en's CRF for one word: per letter, its own and three letters on each side."""
    features = []
    for index, letter in enumerate(word):
        item: dict[str, str | float | bool] = {"bias": 1.0, "grapheme": _encode(letter)}
        for step in (1, 2, 3):
            if index >= step:
                item[f"grapheme-{step}"] = _encode(word[index - step])
            if index + step < len(word):
                item[f"grapheme+{step}"] = _encode(word[index + step])
        if index == 0:
            item["begin"] = True
        if index == len(word) - 1:
            item["end"] = True
        features.append(item)
    labels = [base64.b64decode(label).decode() for label in _g2p_model().tag(features)]
    return [symbol for label in labels for symbol in label.split("|") if symbol != "_"]


@lru_cache(maxsize=256)
def _encode(letter: str) -> str:
    return base64.b64encode(letter.encode()).decode("ascii")
