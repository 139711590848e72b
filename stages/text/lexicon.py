"""Pronunciations from gruut_lang_en's `lexicon.db` (MIT; from CMUdict) and from the user's own lexicon file.

The database has no index on `word`, but its rows are in the order of the words, so a word is found by bisection over
row ids: some 17 primary-key reads (0.1 ms) instead of a 9 ms scan, and nothing is kept in memory but what was asked.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from stages.core.symbols import VOWELS, known_phone

IPA = {
    "ɑ": "aa", "æ": "ae", "ʌ": "ah", "ɔ": "ao", "aʊ": "aw", "ə": "ax", "aɪ": "ay", "b": "b", "t͡ʃ": "ch", "d": "d",
    "ð": "dh", "ɛ": "eh", "ɚ": "er", "ɝ": "er", "eɪ": "ey", "f": "f", "ɡ": "g", "g": "g", "h": "hh", "ɪ": "ih",
    "ᵻ": "ih", "i": "iy", "d͡ʒ": "jh", "k": "k", "l": "l", "m": "m", "n": "n", "ŋ": "ng", "oʊ": "ow", "ɔɪ": "oy",
    "p": "p", "ɹ": "r", "s": "s", "ʃ": "sh", "t": "t", "ɾ": "t", "θ": "th", "ʊ": "uh", "u": "uw", "v": "v", "w": "w",
    "j": "y", "z": "z", "ʒ": "zh",
}  # fmt: skip
"""The lexicon's IPA to flite's phones, stress marks taken off first."""
STRESS = {"ˈ": "1", "ˌ": "2"}
"""The lexicon's stress marks to the digits that marked phones end on, as in CMUdict: primary, secondary."""


@dataclass(frozen=True)
class Variant:
    """One pronunciation and the part of speech it belongs to ('' when it is the only one)."""

    phones: tuple[str, ...]
    role: str = ""


_REDUCED_BEFORE = ("t", "d", "s", "z", "jh")
"""Consonants that, at a word's end, make flite (as CMUdict) say `ax` where the lexicon has an unstressed ɪ:
'village', 'office', 'wanted', 'roses', 'private' (measured over 3000 words: 2 of 3; 'ing', 'ic', 'ive' keep `ih`)."""


def bare(phones: Iterable[str]) -> tuple[str, ...]:
    """Marked phones without their stress: ('hh', 'ax', 'l', 'ow1') -> ('hh', 'ax', 'l', 'ow')."""
    return tuple(phone.rstrip("12") for phone in phones)


def phones_of_ipa(ipa: list[str], marked: bool = False) -> tuple[str, ...]:
    """IPA symbols (stress marks allowed) as flite phones; a KeyError names a symbol that IPA lacks.

    Args:
        marked: stressed vowels end on 1 (primary) or 2 (secondary).
    """
    phones = [IPA[symbol.lstrip("ˈˌ")] for symbol in ipa]
    for index in range(1, len(ipa) - 1):  # never the first phone: 'it', 'is', 'exact'
        ending = tuple(phones[index + 1 :])
        if ipa[index] == "ɪ" and _is_reduced(ending):
            phones[index] = "ax"
    first_vowel = next((index for index, phone in enumerate(phones) if phone in VOWELS), None)
    if first_vowel is not None and ipa[first_vowel] == "i":
        rest = phones[first_vowel + 1 :]
        if rest and rest[0] not in VOWELS and any(phone in VOWELS or phone == "er" for phone in rest):
            phones[first_vowel] = "ih"  # unstressed re-, de-, e-: 'report', 'emerge'
    if ipa[:2] in (["ɪ", "ŋ"], ["ɛ", "ŋ"]):
        phones[1] = "n"  # unstressed in-, en-: 'include', 'engage'
    if marked:
        phones = [
            phone + STRESS.get(symbol[0], "") if phone in VOWELS else phone
            for phone, symbol in zip(phones, ipa, strict=True)
        ]
    return tuple(phones)


def _is_reduced(ending: tuple[str, ...]) -> bool:
    """Whether an unstressed ɪ followed by exactly `ending` is flite's `ax`: '-age', '-ate', '-ed', '-ity', '-ical'."""
    plural = ending[:1] + ending[2:] if len(ending) == 2 and ending[1] in ("s", "z") else ending
    return plural in {(phone,) for phone in _REDUCED_BEFORE} or ending in (
        ("t", "iy"),
        ("k", "ax", "l"),
        ("t", "iy", "z"),
    )


class Lexicon:
    """Read-only look-ups, opened at the first one; safe to share between threads. `marked`: with stress digits."""

    def __init__(self, path: str | Path | None = None, marked: bool = False):
        self._path = path
        self._marked = marked
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._rows = 0
        self.variants = lru_cache(maxsize=50_000)(self._variants)

    def __contains__(self, word: str) -> bool:
        return bool(self.variants(word))

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            path = self._path or resources() / "lexicon.db"
            # immutable: the wheel's file never changes, so SQLite needs no locks and no writable folder.
            self._db = sqlite3.connect(f"{Path(path).as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
            self._rows = self._db.execute("SELECT max(id) FROM word_phonemes").fetchone()[0]
        return self._db

    def _variants(self, word: str) -> tuple[Variant, ...]:
        """Every pronunciation of a lower-case word, the most usual first; () when it is not listed."""
        with self._lock:
            db = self._open()
            low, high = 1, self._rows + 1
            while low < high:
                middle = (low + high) // 2
                if db.execute("SELECT word FROM word_phonemes WHERE id = ?", (middle,)).fetchone()[0] < word:
                    low = middle + 1
                else:
                    high = middle
            # A few rows are out of order by some places: look a little to both sides.
            rows = db.execute(
                "SELECT word, phonemes, role FROM word_phonemes WHERE id BETWEEN ? AND ? ORDER BY id",
                (low - 8, low + 8),
            ).fetchall()
        return tuple(
            Variant(phones_of_ipa(ipa.split(), self._marked), role[6:]) for found, ipa, role in rows if found == word
        )


def resources() -> Path:
    """The folder of gruut_lang_en's data files."""
    import gruut_lang_en

    return gruut_lang_en.get_lang_dir()


def read_user_lexicon(path: str | Path) -> dict[str, tuple[str, ...]]:
    """A file of `word phone phone …` lines ('#' starts a comment). A bad line is a ValueError: file, line, mend."""
    entries: dict[str, tuple[str, ...]] = {}
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except OSError as error:
        raise ValueError(f"{path}: the lexicon cannot be read ({error.strerror}); give a text file's path") from error
    for number, line in enumerate(lines, 1):
        word, *phones = line.partition("#")[0].split() or [""]
        if not word:
            continue
        where = f"{path}:{number}"
        if not phones:
            raise ValueError(f"{where}: {word!r} has no phones; write for example '{word} hh ax l ow'")
        if word.lower() in entries:
            raise ValueError(f"{where}: {word!r} is already given above; keep one of the two lines")
        if not word.replace("'", "").isalpha():
            raise ValueError(f"{where}: {word!r} is not one word of letters; give one line per spoken word")
        for phone in phones:
            try:
                known_phone(phone)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            if phone in ("pau", "<pad>"):
                raise ValueError(f"{where}: {phone!r} is no phone of a word; leave it out")
        entries[word.lower()] = tuple(phones)
    return entries
