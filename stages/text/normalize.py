"""Written English to spoken words: text in, a list of word and break tokens out.

The order: take out inline phones, fold Unicode, then rewrite from the most particular (web addresses) to the most
general (plain numbers), then cut into tokens. Nothing raises on odd input, and what cannot be spoken is reported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stages.core.symbols import known_phone
from stages.text import abbreviations, names, numeric
from stages.text.folding import MARK, fold
from stages.text.units import spoken_letters

_OVERRIDE = re.compile(r"\[\[([^\[\]]*)\]\]")
_OVERRIDE_BASE = 0xF0000
"""Inline phones wait out the rules as one private-use character each; folding drops any that the text brought."""


@dataclass(frozen=True)
class Token:
    """A spoken word, or a phrase break (`word` empty)."""

    word: str
    """Lower case, apostrophes kept; a single capital ('A', or 'Bs') is the name of a letter. '' is a phrase break."""
    written: str = ""
    """The word in its written case, or the punctuation of a break: what a part-of-speech tagger reads."""
    phones: tuple[str, ...] = ()
    """Given inline by the user; () when the lexicon is to be asked."""


@dataclass(frozen=True)
class Normalized:
    """The spoken form of one text."""

    tokens: tuple[Token, ...]
    unspoken: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """The spoken words in order."""
        return [token.word for token in self.tokens if token.word]


_SYMBOL_RULES = tuple(
    (re.compile(pattern), spoken)
    for pattern, spoken in (
        (r"\bC\+\+", f"{MARK}C plus plus"),
        (r"\b([CF])#(?!\w)", rf"{MARK}\1 sharp"),
        (r"\b([A-Z])\+(?!\w)", rf"{MARK}\1 plus"),
        (r"(?<=[\d¢])\s?%", " percent "),
        (r"%", " percent "),
        (r"#(?=\s?\d)", " number "),
        (r"#(?=[A-Za-z])", " hashtag "),
        (r"(?<!\w)~(?=\s?[\d$£€.])", " about "),
        (r"(?<=\w)\s?\^\s?(?=[\w-])", " to the power of "),
        (r"(?<=\w)²", " squared "),
        (r"(?<=\w)³", " cubed "),
        (r"(\d)\s?\*\s?(?=\d)", r"\1 times "),
        (r"(\d)\s?×\s?(?=\d)", r"\1 times "),
        (r"(?:\+/-|±)", " plus or minus "),
        (r"<=|≤", " less than or equal to "),
        (r">=|≥", " greater than or equal to "),
        (r"!=|≠", " not equal to "),
        (r"≈", " approximately "),
        (r"<-+|<=+|-+>|=+>", " — "),
        (r"</?[A-Za-z][^<>]{0,80}>", None),
        (r"<", " less than "),
        (r">", " greater than "),
        (r"&", " and "),
        (r"\+", " plus "),
        (r"={2,}", " — "),
        (r"=", " equals "),
        (r"÷", " divided by "),
        (r"×", " times "),
        (r"√", " square root of "),
        (r"∞", " infinity "),
        (r"(?<!\w)@(?=\w)", " at "),
        (r"@", " at "),
        (r"§+", " section "),
        (r"\$", " dollar "),
        (r"£", " pound "),
        (r"€", " euro "),
        (r"¥", " yen "),
        (r"¢", " cent "),
        (r"°", " degree "),
        (r"(?<=[A-Za-z0-9])/(?=[A-Za-z0-9])", " slash "),
        (r"(?<=\w)_(?=\w)", " underscore "),
        (r"(?<=\w)\\(?=\w)", " backslash "),
        (r"(?<=\w)~(?=\w)", " tilde "),
        (r"^[#>*]+ |(?<=\n)[#>*]+ ", " "),
    )
)
_LETTER_A = re.compile(
    # 'vitamin A', 'plan A': a few nouns and 'an' are followed by the letter whatever comes next
    r"(?:(?<=vitamin )|(?<=[Pp]lan )|(?<=[Gg]rade )|(?<=epatitis )|(?<=[Tt]ype )|(?<=[Oo]ption )|(?<=an ))A\b(?!['\w])"
    r"|(?<=[a-z] )A\b(?!['\w])(?![ -][a-z])"
    r"|(?<!\ue000)\b[Aa]\b(?=\s*(?:[.,;:!?)]|$))(?!\.\w)"
)
_TOKEN = re.compile(
    rf"{MARK}(?P<letter>[A-Z])(?P<ending>'s|s'|s)?(?![A-Za-z])"
    r"|(?P<word>(?:(?<![\w'])'(?=(?:tis|twas|em|til|cause|bout|n)\b))?[A-Za-z]+(?:'[A-Za-z]+)*(?:(?<=s)'(?!\w))?)"
    r"|(?P<break>[,;:.!?()\[\]{}…—–|•]+|-{2,}|(?:(?<=\s)|^)-(?=\s)|\n\s*\n)"
    r"|(?P<phones>[\U000F0000-\U000FFFFD])"
    r"|(?P<silent>[\s\"'`*_~^\\/#-])"
    r"|(?P<other>\S)"
)
_PREFIXES = r"\b(re|pre|anti|non|un|multi|semi|mid|over|under|out|inter|co)-([a-z]{3,})\b"


def normalize(text: str, known: names.Known) -> Normalized:
    """The spoken words and breaks of `text`; `known` tells whether a lower-case word is in the lexicon.

    Raises ValueError only for inline phones ('[[ hh ax l ow ]]') that name an unknown phone.
    """
    overrides: list[tuple[str, ...]] = []
    unspoken: list[str] = []
    pieces = []
    for index, piece in enumerate(_OVERRIDE.split(text)):
        if index % 2:
            pieces.append(f" {chr(_OVERRIDE_BASE + len(overrides))} ")
            overrides.append(_inline_phones(piece))
        else:
            folded, lost = fold(piece)
            pieces.append(folded)
            unspoken.extend(lost)
    spoken = _rewrite("".join(pieces), known, unspoken)
    tokens = _tokens(spoken, overrides, unspoken)
    return Normalized(tokens, tuple(unspoken))


def _inline_phones(inside: str) -> tuple[str, ...]:
    phones = tuple(inside.split())
    if not phones:
        raise ValueError("[[ ]] holds no phones; write for example [[ hh ax l ow ]]")
    for phone in phones:
        if phone in ("pau", "<pad>"):
            raise ValueError(f"{phone!r} is not a phone of a word; inside [[ ]] give only the phones of one word")
        known_phone(phone)
    return phones


def _rewrite(text: str, known: names.Known, unspoken: list[str]) -> str:
    """Every rule in its order; what is left is words, marked letters and punctuation."""
    text = names.speak_web(text)
    text = abbreviations.speak_abbreviations(text)
    text = numeric.speak_quantities(text)
    text = abbreviations.speak_months(text)
    text = re.sub(_PREFIXES, lambda m: m[1] + m[2] if known(m[1] + m[2]) and m[1] != "co" else m[0], text)
    for pattern, spoken in _SYMBOL_RULES:
        if spoken is None:
            unspoken.extend(match[0] for match in pattern.finditer(text))
        elif pattern.pattern == "&":
            text = names.speak_capitals(text, known)  # 'R&D' and 'AT&T' need their ampersand
        text = pattern.sub(spoken or " ", text)
    text = names.speak_codes(text, known)
    text = numeric.speak_numbers(text)
    text = _LETTER_A.sub(spoken_letters("a"), text)
    return re.sub(r"(?<=\w)\s+'s\b", "'s", text)


def _tokens(text: str, overrides: list[tuple[str, ...]], unspoken: list[str]) -> tuple[Token, ...]:
    tokens: list[Token] = []
    for match in _TOKEN.finditer(text):
        if match["letter"]:
            written = match["letter"] + (match["ending"] or "")
            tokens.append(Token(written, written))
        elif match["word"]:
            tokens.append(_word(match["word"]))
        elif match["break"]:
            if tokens and tokens[-1].word:  # never a break first, never two in a row
                tokens.append(Token("", match["break"].strip()[:1] or "."))
        elif match["phones"]:
            phones = overrides[ord(match["phones"]) - _OVERRIDE_BASE]
            tokens.append(Token(" ".join(phones), "".join(phones), phones))
        elif match["other"]:
            unspoken.append(match["other"])
    while tokens and not tokens[-1].word:
        tokens.pop()
    return tuple(tokens)


def _word(written: str) -> Token:
    single = len(written) == 1 and written not in "aAiI"
    return Token(written.upper() if single else written.lower(), written)
