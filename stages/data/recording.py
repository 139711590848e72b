"""What a corpus reader yields: recordings, and problems in place of those that cannot be one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Recording:
    """One utterance as its corpus describes it; its sound has not been opened yet."""

    id: str
    """unique in the corpus, of letters, digits, `-` and `_` only; never used as a path unless hashed"""
    audio: Path
    text: str
    """what the corpus says was spoken, before normalisation"""
    speaker: str
    where: str
    """file and line (or file) that describes it, for messages"""
    language: str = "en"
    phones: tuple[tuple[str, float], ...] = ()
    """(symbol, end in seconds) in order, when the corpus knows timings"""


@dataclass(frozen=True)
class Problem:
    """Something in a corpus that gives no training utterance; counted and told, never silently left out."""

    id: str
    where: str
    reason: str
    """a short stable name, e.g. `missing_audio`, `empty_text`"""
    detail: str
    """one sentence: what is wrong and what to do"""
