"""The closed phone inventory of every acoustic model: flite's US English phone set.

The models are trained on flite's own phones (`flite -psdur`), so these are its names: ARPAbet in lower case,
no stress digits, `ax` for the reduced vowel, `pau` for a pause.
"""

# Lists of words read best as text:
# ruff: noqa: SIM905

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from difflib import get_close_matches

PAD = "<pad>"
"""Fills batches; index 0, so that a zero is always padding."""

PHONES = tuple(
    "aa ae ah ao aw ax ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh uw v w y z zh".split()
)

SYMBOLS = (PAD, "pau", *PHONES)
"""Every symbol, in the order of the embedding table. Appending is a new inventory: the digest changes."""

VOWELS = frozenset("aa ae ah ao aw ax ay eh er ey ih iy ow oy uh uw".split())

VOICELESS = frozenset("p t k f th s sh ch hh".split())

DIGEST = hashlib.sha256(" ".join(SYMBOLS).encode()).hexdigest()
"""Hex sha256 over the inventory: checkpoints carry it, so that a model never reads another table's numbers."""

_INDEX = {symbol: index for index, symbol in enumerate(SYMBOLS)}


def meta() -> dict[str, object]:
    """What a checkpoint says of the table it reads: a digest to check it, names to fine-tune on another table."""
    return {"symbols": DIGEST, "names": {"symbols": list(SYMBOLS)}}


def ids(symbols: Iterable[str]) -> list[int]:
    """Embedding indices (P) of `symbols`; an unknown symbol is a ValueError that names the near miss."""
    return [_INDEX[symbol] if symbol in _INDEX else _INDEX[known_phone(symbol)] for symbol in symbols]


def known_phone(symbol: str) -> str:
    """`symbol` itself when it is a phone, else a ValueError with one sentence that names the near miss."""
    if symbol in _INDEX:
        return symbol
    # Stress digits are the usual slip of those who know CMUdict: name the phone without them.
    bare = symbol.lower().rstrip("0123456789")
    near = [bare] if bare in PHONES else get_close_matches(bare, PHONES, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]!r}?" if near else f"the phones are: {' '.join(PHONES)}"
    raise ValueError(f"{symbol!r} is not a phone; {hint}")
