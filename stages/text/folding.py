"""Unicode to the plain Latin text that the rules read; whatever has no spoken form is collected, not lost.

After folding the text holds printable ASCII, newlines, and the few non-ASCII symbols of KEPT.
"""

# Lists of words read best as text:
# ruff: noqa: SIM905

from __future__ import annotations

import unicodedata
from functools import lru_cache

KEPT = frozenset("€£¥¢°§²³×÷±≤≥≠≈√∞–—…•")
"""Symbols that a rule speaks or turns into a break: left as they are."""

MARK = "\ue000"
"""Goes before a letter that is spoken as its name ('\ue000A' is "ay", 'A' the article); never in folded text."""

_FOLDS = {
    **dict.fromkeys("‘’‚‛′ʼ`´＇ʻ", "'"),
    **dict.fromkeys("“”„‟«»″〝〞", '"'),
    **dict.fromkeys("‐‑‒−﹣－⁃", "-"),
    **dict.fromkeys("―⸺⸻─━", "—"),
    **dict.fromkeys("·●▪■◦‣∙►▶➤", "•"),
    **dict.fromkeys("、，、", ","),
    **dict.fromkeys("。", "."),
    **dict.fromkeys("→⇒➔➜←⇐↔", " — "),
    "½": " 1/2",
    "¼": " 1/4",
    "¾": " 3/4",
    "⅓": " 1/3",
    "⅔": " 2/3",
    "⅛": " 1/8",
    "⅜": " 3/8",
    "ß": "ss",
    "æ": "ae",
    "Æ": "Ae",
    "œ": "oe",
    "Œ": "Oe",
    "ø": "o",
    "Ø": "O",
    "ł": "l",
    "Ł": "L",
    "đ": "d",
    "Đ": "D",
    "ð": "th",
    "Ð": "Th",
    "þ": "th",
    "Þ": "Th",
    "ı": "i",
    "⁄": "/",
    "∕": "/",
    "©": " copyright ",
    "℃": "°C",
    "℉": "°F",
    "№": "No. ",
    "µ": "μ",
    "・": " ",
    "™": " trademark ",
    "®": " registered ",
    "¿": "",
    "¡": "",
    "⩽": "≤",
    "⩾": "≥",
    "∗": "*",
    "⋅": "×",
    "∼": "~",
    "₤": "£",
}
GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρστυφχψω",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon "
        "phi chi psi omega".split(),
        strict=True,
    )
)


@lru_cache(maxsize=4096)
def _fold_char(char: str) -> str | None:
    """The plain form of one character; '' when it is dropped in place, None when it has no spoken form."""
    if char in KEPT or "\x20" <= char < "\x7f" or char in "\n":
        return char
    if char in _FOLDS:
        return _FOLDS[char]
    if char.isspace():
        return "\n" if char in "\r\x0b\x0c\x85\u2028\u2029" else " "
    if unicodedata.category(char) == "Mn":
        return ""
    if unicodedata.decimal(char, None) is not None:  # other scripts' digits are numbers all the same
        return str(unicodedata.decimal(char))
    folded = "".join(c for c in unicodedata.normalize("NFKD", char) if unicodedata.category(c) != "Mn")
    folded = "".join(_FOLDS.get(c, c) for c in folded)
    return folded if folded and all("\x20" <= c < "\x7f" or c in KEPT for c in folded) else None


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char) in ("Cf", "Cc", "Cs", "Co", "Cn") and char not in "\n\t\r\x0b\x0c\x85"


def fold(text: str) -> tuple[str, tuple[str, ...]]:
    """`text` as plain Latin text and the pieces without a spoken form, in order.

    Accents go (café -> cafe), compatibility forms and quotes become ASCII, a lone Greek letter is named.
    Emoji and other scripts are reported as they stand, invisible characters by code point ('U+200B').
    """
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n"))
    out: list[str] = []
    unspoken: list[str] = []
    run = ""
    for index, char in enumerate(text):
        folded = None if _is_invisible(char) else _fold_char(char)
        if folded is None and char.lower() in GREEK and _stands_alone(text, index):
            folded = f" {GREEK[char.lower()]} " if char != "μ" or not _before_unit(text, index) else "u"
        if folded is not None and not (run and folded == ""):
            out.append(folded)
            if run:
                unspoken.append(run)
            run = ""
        elif _is_invisible(char) and not (run and char == "\u200d"):  # a joiner inside an emoji belongs to it
            unspoken.append(f"U+{ord(char):04X}")
        else:
            run += char
            if len(run) == 1:
                out.append(" ")  # what is dropped never glues its neighbours into one word
    if run:
        unspoken.append(run)
    return "".join(out), tuple(unspoken)


def _stands_alone(text: str, index: int) -> bool:
    """Whether the letter at `index` has no other non-ASCII letter beside it: a symbol, not a Greek word."""
    sides = text[max(0, index - 1) : index] + text[index + 1 : index + 2]
    return not any(char.isalpha() and not char.isascii() for char in sides)


def _before_unit(text: str, index: int) -> bool:
    """Whether the mu at `index` is the prefix micro, as in '5 μm'."""
    return text[index + 1 : index + 2] in ("m", "s", "g", "l", "L", "F", "A", "V") and text[index + 1 : index + 2] != ""
