"""Tones of a corpus: the lexical stress of what was really said, made once by content when a model asks."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from stages.core.fingerprint import digest
from stages.core.stage import NothingToSay
from stages.core.symbols import SYMBOLS
from stages.data.derived import derive
from stages.data.features import Corpus
from stages.text.config import SPEC as TEXT
from stages.text.stress.config import SPEC as STRESS

VERSION = [2, TEXT.version, STRESS.version]


def tones_of(corpus: Corpus, workers: int = 2, progress: Callable[[int, int], None] | None = None) -> np.ndarray:
    """Tones (0 to TONES - 1) at the corpus's phones: (sum P,) int8, a memory map beside the features.

    The text stage reads each utterance's text, the stress stage knows its words, and what was said is laid beside
    them phone by phone (`tones_of_said`). A text without a word has no tones (all 0).

    Args:
        progress: told (utterances done, utterances to compute).

    Raises:
        StoreError: the store beside the features cannot be written.
    """
    path = corpus.folder / f"tones-{digest(VERSION)[:16]}.npy"
    if not path.exists():
        keys = [
            digest(["tones", VERSION, corpus.texts[i], corpus.phones[corpus.phones_of(i)].tolist()])
            for i in range(len(corpus))
        ]
        parts = derive(corpus, keys, _tones, (), workers, progress)
        partial = path.with_suffix(f".{os.getpid()}.partial.npy")  # runs may start side by side
        np.save(partial, np.concatenate(parts))
        os.replace(partial, path)
    return np.load(path, mmap_mode="r", allow_pickle=False)


@functools.lru_cache(maxsize=1)
def _stages() -> tuple[Any, Any]:
    """The text stage and the look-up of words of this process."""
    from stages.text.stage import TextConfig, TextStage
    from stages.text.tones import WordTones

    return TextStage.load(TextConfig()), WordTones()


def _tones(corpus: Corpus, i: int) -> np.ndarray:
    """(P,) int8 of utterance i."""
    from stages.text.tones import tones_of_said

    text, find = _stages()
    said = [SYMBOLS[n] for n in corpus.phones[corpus.phones_of(i)].tolist()]
    try:
        words = text.run([{str: corpus.texts[i]}])[0].words
    except NothingToSay:
        words = ()
    return np.array(tones_of_said(said, words, find), np.int8)
