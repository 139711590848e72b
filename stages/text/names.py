"""Web addresses, codes, initialisms and CamelCase to words: what is written as one piece and spoken as several."""

# Lists of words read best as text:
# ruff: noqa: SIM905

from __future__ import annotations

import re
from collections.abc import Callable

from stages.text import verbalize as say
from stages.text.folding import MARK
from stages.text.units import spoken_letters

Known = Callable[[str], bool]
"""Whether a lower-case word is in the lexicon."""

LETTERS = frozenset(
    "US UK EU UN IT TV PC AI ID HR PR ER GI GM GE BA MA CEO CIO COO CIA USA UAE USSR ESL ISP LED OCD IRA IPO ATM "
    "LA DC NY NBA AOL IBM VIP EPA URL API IQ CV CD DVD AC DJ MC OK PE RV SUV UFO ETA FAQ DIY FYI ASAP ADHD ASL".split()
) - {"OK", "ASAP"}
"""Capitals that are spelled although the lexicon has a word of the same letters."""
SHOUTABLE = frozenset("US IT ID LED IRA LA ER MA BA ACE".split())
"""Of LETTERS: plain words when the whole sentence is in capitals."""

_WEB_SYMBOLS = {
    ".": "dot", "/": "slash", ":": "colon", "-": "dash", "_": "underscore", "@": "at", "?": "question mark",
    "=": "equals", "&": "and", "#": "hash", "%": "percent", "~": "tilde", "+": "plus", ",": "comma", ";": "semicolon",
    "!": "exclamation mark", "*": "star", "$": "dollar", "'": "apostrophe", "(": "", ")": "",
}  # fmt: skip
_DOMAINS = (
    "com|org|net|edu|gov|mil|int|io|ai|co|uk|de|fr|jp|cn|ru|ch|it|nl|eu|us|ca|au|in|br|es|info|dev|app|xyz|me|tv|ly|gg|"
    "blog|tech|site|online|store|biz|se|no|dk|fi|pl|at|be|nz|kr|ie|html|py|txt|pdf|js|exe|csv|json|md|yaml|zip|png|jpg"
)
_WEB = re.compile(
    r"(?:\b(?:https?|ftp)://|\bwww\.)[^\s<>\"]+"
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    rf"|(?<![\w@./])(?:[A-Za-z0-9][\w-]*\.)+(?:{_DOMAINS})\b(?:[:/][^\s<>\"]*)?(?![\w@])"
)
_CODE = re.compile(r"(?<![\w\ue000])(?=[A-Za-z-]*\d|\d)(?=[\w-]*[A-Za-z])[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*(?!\w)")
_CAPITALS = re.compile(r"(?<![\w\ue000])([A-Z]{2,})('s|s'|s)?(?![A-Za-z])")
_CAMEL = re.compile(r"(?<![\w\ue000'])(?=[A-Za-z]*[a-z][A-Z])[A-Za-z]{3,}\b")


def speak_web(text: str) -> str:
    """URLs, e-mail addresses and file names: 'example.com/a' -> 'example dot com slash a'."""
    return _WEB.sub(_web, text)


def _web(match: re.Match[str]) -> str:
    address = match[0]
    body = address.rstrip(".,;:!?)'")
    words = []
    for part in re.findall(r"[A-Za-z]+|\d+|.", body):
        if part.isdigit():
            words.append(say.code_number(part))
        elif part.isalpha() and part.isascii():
            spelled = len(part) == 1 or part.lower() in ("http", "https", "www", "ftp", "html", "pdf", "io", "ai", "uk")
            words.append(spoken_letters(part) if spelled else part.lower())
        else:
            words.append(_WEB_SYMBOLS.get(part, part))
    return f" {' '.join(words)} " + address[len(body) :]


def is_shouting(text: str) -> bool:
    """Whether the sentence is written in capitals: then they mark no initialisms."""
    words = re.findall(r"[A-Za-z]{2,}", text)
    capital = sum(word.isupper() for word in words)
    return capital >= 3 and capital > 0.7 * len(words)


def speak_codes(text: str, known: Known) -> str:
    """Letters and digits in one piece: 'B2B' -> 'B two B', 'COVID-19' -> 'COVID nineteen'."""
    return _CODE.sub(lambda m: f" {_code(m[0], known)} ", text)


def _code(code: str, known: Known) -> str:
    words = []
    for part in re.findall(r"\d+|[A-Za-z]+", code):
        if part.isdigit():
            words.append(say.code_number(part))
        elif (
            len(part) == 1
            or (part.isupper() and (len(part) < 4 or not known(part.lower())))
            and not is_word(part, known)
        ):
            words.append(spoken_letters(part))
        else:
            words.append(part)
    return " ".join(words)


def speak_capitals(text: str, known: Known) -> str:
    """Initialisms letter by letter ('FBI', 'PCs'), acronyms as words ('NASA'), CamelCase in its pieces."""
    shouting = is_shouting(text)
    text = re.sub(r"\b([A-Z]{1,3})\s?&\s?([A-Z]{1,2})\b",
                  lambda m: f"{spoken_letters(m[1])} and {spoken_letters(m[2])}", text)  # fmt: skip
    text = _CAMEL.sub(lambda m: _camel(m[0], known), text)
    return _CAPITALS.sub(lambda m: _capitals(m, known, shouting), text)


def _capitals(match: re.Match[str], known: Known, shouting: bool) -> str:
    letters, ending = match[1], match[2] or ""
    if ending == "s" and is_word(letters + "S", known) and len(letters) > 3:
        return match[0].lower()
    spelled = not is_word(letters, known) if letters not in LETTERS else not (shouting and letters in SHOUTABLE)
    return spoken_letters(letters) + ending if spelled else match[0].lower()


def is_word(letters: str, known: Known) -> bool:
    """Whether capitals are spoken as a word: the lexicon has it, or it looks like one (vowels in their places)."""
    if letters in LETTERS:
        return False
    lower = letters.lower()
    if known(lower):
        return True
    pronounceable = re.fullmatch(r"(?:[^aeiou]{0,2}[aeiou]{1,2})+(?:[^aeiouy]{0,2}|y)", lower)
    return len(letters) >= 5 and bool(pronounceable)


def _camel(word: str, known: Known) -> str:
    """'YouTube' -> 'You Tube', 'ChatGPT' -> 'Chat GPT'; 'McDonald' stays, the lexicon has it."""
    if known(word.lower()):
        return word
    pieces = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", word)
    if "".join(pieces) != word or word.startswith(("Mc", "Mac", "De", "O'")):
        return word
    return " ".join(MARK + piece.upper() if len(piece) == 1 else piece for piece in pieces)
