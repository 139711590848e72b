"""Plain English out of WordNet 3.0 (Debian package `wordnet-base`; licence: WordNet 3.0, free for any use with notice).

Example sentences of the glosses are ordinary phrases of 2-25 words; definitions become "A ferry is a boat that …".
"""

from __future__ import annotations

import re
from pathlib import Path

from stages.core.config import ConfigError

SPEAKABLE = re.compile(r"[A-Za-z][A-Za-z',;:\- ]*[A-Za-z]")
VOWELS = "aeiou"


def read_glosses(folder: str | Path) -> list[tuple[str, str, str]]:
    """(part of speech, lemma, gloss) of every synset. Raises ConfigError with the mend when the files are not there."""
    out = []
    for pos in ("noun", "verb", "adj", "adv"):
        path = Path(folder) / f"data.{pos}"
        try:
            lines = path.read_text(encoding="latin-1").splitlines()
        except OSError:
            raise ConfigError(f"{path}: WordNet is not there; run `apt-get install wordnet-base`") from None
        for line in lines:
            if line.startswith("  ") or "| " not in line:  # the licence header
                continue
            out.append((pos, line.split()[4].replace("_", " "), line.split("| ", 1)[1].strip()))
    return out


def is_plain(text: str) -> bool:
    """Letters and light punctuation only, 2 to 25 words, no word long enough to be a formula or a misprint."""
    words = text.split()
    return (
        2 <= len(words) <= 25
        and SPEAKABLE.fullmatch(text) is not None
        and all(len(w) <= 18 for w in words)
        and "--" not in text
        and not any(w.isupper() and len(w) > 1 for w in words)
    )


def sentence(text: str) -> str:
    """A phrase as a sentence: capital first, full stop last."""
    return text[0].upper() + text[1:] + "."


def examples(glosses: list[tuple[str, str, str]]) -> list[str]:
    """The quoted example phrases of all glosses that are plain English, without repeats, in file order."""
    found = (q.strip(" .,;") for _, _, gloss in glosses for q in re.findall(r'"([^"]+)"', gloss))
    return list(dict.fromkeys(text for text in found if is_plain(text)))


def definitions(glosses: list[tuple[str, str, str]]) -> list[str]:
    """Noun definitions as sentences: "A ferry is a boat that transports people"."""
    out = []
    for pos, lemma, gloss in glosses:
        body = re.sub(r"\([^)]*\)", "", re.split(r'[;"]', gloss)[0])
        body = " ".join(body.split())
        starts_with_article = re.match(r"(a|an|the|any|one|some)\b", body) is not None
        if pos != "noun" or not lemma.islower() or not starts_with_article:
            continue
        article = "an" if lemma[0] in VOWELS else "a"
        text = f"{article} {lemma} is {body}"
        if is_plain(text) and len(text.split()) >= 6:
            out.append(text)
    return list(dict.fromkeys(out))
