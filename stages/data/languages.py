"""Languages that there is a pronunciation for (a G2P in `stages/text`), by the names that corpora give them."""

from __future__ import annotations

from stages.core.config import near_miss

LANGUAGES = {"en": ("en", "eng", "english")}
"""ISO 639-1 code -> the names that mean it, lower case; a region after `-` or `_` (`en-GB`, `EN_US`) changes nothing"""


def language_code(name: str) -> str:
    """`EN-US` -> `en`. Raises ValueError naming the languages that there are."""
    plain = name.strip().lower().replace("_", "-").split("-")[0]
    for code, names in LANGUAGES.items():
        if plain in names:
            return code
    raise ValueError(f"there is no pronunciation (G2P) for the language {name[:40]!r}{near_miss(plain, LANGUAGES)}")
