"""What a VITS checkpoint reads: phones of this project, or the characters of a checkpoint that came from elsewhere.

A checkpoint of `stages/vits/huggingface.py` says in its meta.json how it reads: `names.symbols` are its symbols in the
order of the embedding table, `reads` the rules (`Reads`). Text becomes the ids that `VitsTokenizer` of transformers
gives, but what is left out is told.
"""

from __future__ import annotations

import functools
import logging
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.core import symbols
from stages.core.checkpoint import CheckpointError
from stages.core.config import build
from stages.core.stage import NothingToSay
from stages.core.types import Phonemes

log = logging.getLogger("caretta.vits")
ENGLISH = frozenset({"en", "eng", "en-us", "en-gb"})


@dataclass(frozen=True)
class Reads:
    """How a checkpoint reads text: `reads` of its meta.json."""

    unit: str = "characters"
    """`characters`, or `phonemes` of the program espeak, which are not read here"""
    language: str = ""
    """as its owner names it (`eng`, `ron`…); empty when it does not say"""
    add_blank: bool = True
    """symbol 0 between the symbols and at both ends"""
    normalise: bool = True
    """lower case (but for what the table has in upper case); what the table lacks is left out"""
    romanise: bool = False
    """other scripts than the Roman are first romanised by the program uroman"""
    unknown: str = ""
    """the symbol for what the table lacks when nothing is left out; empty = there is none"""
    special: tuple[str, ...] = field(default=())
    """symbols that are cut out of the text first: no blank of their own beside them (as VitsTokenizer does it)"""

    def __post_init__(self) -> None:
        if self.unit not in ("characters", "phonemes"):
            raise ValueError(f"reads {self.unit!r}; it can read 'characters' or 'phonemes'")


@dataclass(frozen=True)
class Reading:
    """A text as a checkpoint reads it."""

    ids: tuple[int, ...]
    """(P) rows of the embedding table, blanks included"""
    unread: tuple[str, ...] = ()
    """characters that the table lacks, each once: left out, or read as the unknown symbol"""


def ids_for(phonemes: Phonemes, meta: dict[str, Any]) -> list[int]:
    """What the model of this meta.json reads of a sentence: ids (P) of its embedding table, blanks included.

    Without `reads` these are the sentence's phones (their blanks are the model's own affair). Characters that a
    converted checkpoint cannot read are logged as a warning, each once. Where an English one lacks a digit or a symbol
    of the text (`3`, `$`), it reads the words that the text stage made of it.

    Raises:
        NothingToSay: no character that the checkpoint has a symbol for.
        CheckpointError: its `reads` is not understood, or needs a program that is not part of this project.
    """
    if "reads" not in meta:
        return symbols.ids(phonemes.symbols)
    reads, names = rules(meta)
    reading = read(phonemes.text, reads, names)
    if reads.language in ENGLISH and any(_spoken(character) for character in reading.unread):
        reading = read(" ".join(word.spoken for word in phonemes.words), reads, names)
    for character in reading.unread:
        _tell(character, reads.language)
    return list(reading.ids)


def rules(meta: dict[str, Any]) -> tuple[Reads, tuple[str, ...]]:
    """How a converted checkpoint reads and its symbols, from its meta.json. Raises CheckpointError."""
    try:
        names = tuple(str(name) for name in meta["names"]["symbols"])
        return build(Reads, dict(meta["reads"]), "meta.json.reads"), names
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"meta.json does not say what it reads ({error}); convert the checkpoint again") from None


def read(text: str, reads: Reads, names: Sequence[str]) -> Reading:
    """Text as the ids of `names`: those of VitsTokenizer with the same settings.

    Raises:
        NothingToSay: not one character of the text is in the table.
        CheckpointError: the checkpoint reads what only another program can write (espeak's phonemes, romanised text).
    """
    index = {name: number for number, name in enumerate(names)}
    if reads.unit == "phonemes":
        raise CheckpointError(
            "this checkpoint reads phonemes of espeak (phonemize: true in its tokenizer_config.json), which no stage "
            "writes; convert one that reads characters, such as those of the layout facebook/mms-tts"
        )
    text = _normalised(text, names) if reads.normalise else text
    if reads.language == "ron":
        text = text.replace("ț", "ţ")  # the table has the letter with the cedilla, texts have it with the comma
    if reads.romanise and not text.isascii():
        raise CheckpointError(
            "this checkpoint reads romanised text (is_uroman: true in its tokenizer_config.json); romanise the "
            "text with the program uroman first and give the result"
        )
    kept = "".join(c for c in text if c in index).strip() if reads.normalise else text
    unread = tuple(dict.fromkeys(c for c in text if c not in index and not c.isspace()))
    ids = _ids(kept, reads, index)
    if not ids:
        shown = text if len(text) <= 40 else text[:39] + "…"
        raise NothingToSay(f"there is nothing to say in {shown!r}: the checkpoint has no symbol for any of it")
    return Reading(tuple(ids), unread)


def _normalised(text: str, names: Sequence[str]) -> str:
    """Lower case, except where a symbol of the table stands as it is written."""
    out, at = [], 0
    while at < len(text):
        found = next((name for name in names if text.startswith(name, at)), None)
        out.append(text[at].lower() if found is None else found)
        at += 1 if found is None else len(found)
    return "".join(out)


def _ids(text: str, reads: Reads, index: dict[str, int]) -> list[int]:
    special = [name for name in reads.special if name in index]
    # the longest first: at one place the longest special symbol is meant
    pattern = "|".join(re.escape(name) for name in sorted(special, key=len, reverse=True))
    ids: list[int] = []
    for piece in re.split(f"({pattern})", text) if special else [text]:
        if piece in special:
            ids.append(index[piece])
        elif piece:
            own = [_id(character, reads, index) for character in piece]
            ids.extend(blanked(np.array(own)).tolist() if reads.add_blank else own)
    return ids


def _id(character: str, reads: Reads, index: dict[str, int]) -> int:
    number = index.get(character, index.get(reads.unknown))
    if number is None:
        raise CheckpointError(f"the checkpoint has no symbol for {character!r} and none for the unknown; leave it out")
    return number


def blanked(row: np.ndarray) -> np.ndarray:
    """(P,) -> (2 P + 1,) with a zero before, between and after (the papers' add_blank)."""
    out = np.zeros(2 * len(row) + 1, row.dtype)
    out[1::2] = row
    return out


def _spoken(character: str) -> bool:
    """Whether leaving the character out loses something that is said: all but punctuation."""
    return not unicodedata.category(character).startswith(("P", "Z", "C"))


@functools.lru_cache(maxsize=4096)
def _tell(character: str, language: str) -> None:
    """Once per character and language, however many sentences have it."""
    log.warning("%s is not read: the checkpoint%s has no symbol for it", ascii(character),
                f" for {language!r}" if language else "")  # fmt: skip
