"""Long text to sentences short enough for one utterance. Every piece is a slice of the text: nothing is rewritten."""

from __future__ import annotations

import re

from stages.text.abbreviations import DOTTED, SENTENCE_STARTERS, STREETS, TITLES
from stages.text.folding import fold
from stages.text.units import MONTH_ABBREVIATIONS

MAX_WORDS = 28
"""Spoken words per piece: beyond that the acoustic models have seen little, and a listener wants a breath."""

_SURELY_LONG = 2000
"""Characters: longer parts are cut without counting their words, and near their middle only."""

_END = re.compile(r"[.!?…。！？]+(?:[ \t]+[.!?…]+)*[\"'”’»)\]]*(?=\s)|\n[ \t]*\n|[。！？]+")
_LAST_WORD = re.compile(r"[^\s(\"'“‘\[]+$")
_NEXT_WORD = re.compile(r"\s*[\"'“‘(\[¿¡]*([^\s\"'”’.,;:!?)\]]*)")
_NEVER_LAST = {f"{word}." for word in TITLES}
"""Before a name: their period never ends a sentence."""
_SELDOM_LAST = (
    {word for word in DOTTED if word.endswith(".")}
    | {f"{word}." for word in (*STREETS, *MONTH_ABBREVIATIONS, "St", "No", "Nos", "Fig", "vol", "Vol", "pp", "p", "v")}
) - {"May."}  # fmt: skip
"""Their period ends a sentence only before a word that starts one."""

_CONJUNCTIONS = "and|but|or|because|which|while|when|so|although|though|until|unless|where|who|if|that|as|than|nor|yet"
_CUTS = (
    re.compile(r"[;:]\s+|\s*—\s*|\s[–-]+\s"),
    re.compile(r"[,)]\s+"),
    re.compile(rf"\s+(?=(?:{_CONJUNCTIONS})\s)"),
    re.compile(r"(?<![.\d])\s+(?!\d)"),
    re.compile(r"\s+"),
)
"""Where an over-long sentence may be cut, the best kind first."""


def split_sentences(text: str) -> list[str]:
    """Sentences of at most about MAX_WORDS spoken words, in order; [] for blank text.

    Joined, the pieces hold every non-space character of `text`. A piece without a speakable character joins its
    neighbour, so only a text that holds nothing to say at all gives a piece that cannot be spoken.
    """
    pieces: list[str] = []
    start = 0
    for match in _END.finditer(text):
        if not _in_override(text, match.start()) and _ends_sentence(text, start, match):
            pieces.append(text[start : match.end()])
            start = match.end()
    pieces.append(text[start:])
    short = [part for piece in _joined(pieces) for part in _shortened(piece)]
    return _joined(short)


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    mark = match[0].rstrip("\"'”’»)]")
    if not mark or mark[0] in "\n。！？":
        return True
    after = _NEXT_WORD.match(text, match.end())
    following = after[1] if after else ""
    if following[:1].islower():
        return False
    if mark != ".":
        return True
    found = _LAST_WORD.search(text, max(start, match.start() - 40), match.start() + 1)
    last = found[0] if found else ""
    if last in _NEVER_LAST and last != "St.":
        return False
    if last in _SELDOM_LAST or re.fullmatch(r"(?:[A-Za-z]\.)+", last):
        return following in SENTENCE_STARTERS and not (last == "No." and following.isdigit())
    return True


def _is_speakable(piece: str) -> bool:
    if re.search(r"[A-Za-z0-9]", piece):
        return True
    return bool(re.search(r"[A-Za-z0-9]", fold(piece)[0]))


def _joined(pieces: list[str]) -> list[str]:
    """`pieces` stripped, those with nothing to say glued to the one before (at the start, to the one after)."""
    groups: list[list[str]] = []
    has_speech = False  # whether the last group does: only the first can lack it
    for piece in filter(None, (piece.strip() for piece in pieces)):
        speaks = _is_speakable(piece)
        if groups and not (speaks and has_speech):
            groups[-1].append(piece)
        else:
            groups.append([piece])
        has_speech = has_speech or speaks
    return [" ".join(group) for group in groups]


def spoken_length(text: str) -> int:
    """About how many words `text` is when spoken (every digit counts as one)."""
    digits = len(re.findall(r"\d", text)) - len(re.findall(r"\d+", text))
    return len(text.split()) + text.count("-") + digits


def _shortened(piece: str) -> list[str]:
    """`piece` cut near its middle, at the best kind of place there is, until no part is over-long."""
    done: list[str] = []
    todo = [piece]
    while todo:
        part = todo.pop()
        cut = _cut(part) if len(part) > _SURELY_LONG or spoken_length(part) > MAX_WORDS else None
        if cut is None:
            done.append(part)
        else:
            todo += [part[cut:], part[:cut]]
    return done


def _cut(part: str) -> int | None:
    """Where to cut an over-long part: the place nearest its middle, of the best kind that is near enough."""
    middle = len(part) / 2
    near = min(0.3, _SURELY_LONG / len(part)) * len(part)
    for pattern, reach in [*((pattern, near) for pattern in _CUTS), (_CUTS[-1], middle)]:
        places = [
            match.end()
            for match in pattern.finditer(part, int(middle - reach), int(middle + reach) + 1)
            if not _in_override(part, match.end()) and part[: match.end()].strip() and part[match.end() :].strip()
        ]
        if places:
            return min(places, key=lambda place: abs(place - middle))
    return None


def _in_override(text: str, place: int) -> bool:
    """Whether `place` is inside inline phones ('[[ hh ax l ow ]]', closed within 300 characters)."""
    opened = text.rfind("[[", max(0, place - 300), place)
    return opened >= 0 and text.find("]]", opened, place) < 0 and text.find("]]", place - 1, opened + 300) >= 0
