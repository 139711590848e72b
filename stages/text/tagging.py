"""Penn parts of speech from gruut_lang_en's CRF model, enough to tell a noun from a verb."""

from __future__ import annotations

import base64
import string
import threading
from functools import lru_cache
from typing import Any

from stages.text.lexicon import resources


class Tagger:
    """Tags a sentence; the model (9 MB, memory-mapped) is opened at the first one."""

    def __init__(self) -> None:
        self._model: Any = None
        self._lock = threading.Lock()  # a CRF tagger keeps the sentence it works on: one thread at a time

    def __call__(self, written: list[str]) -> list[str]:
        """One Penn tag for each of `written`: words in their own case, and punctuation marks."""
        items = [_local(word) for word in written]
        features = []
        for index, item in enumerate(items):
            merged = dict(item)
            for offset in (-1, -2, 1, 2):
                if 0 <= index + offset < len(items):
                    merged.update({f"{offset:+d}:{name}": value for name, value in items[index + offset].items()})
            if index == 0:
                merged["BOS"] = True
            if index == len(items) - 1:
                merged["EOS"] = True
            features.append(merged)
        with self._lock:
            if self._model is None:
                import pycrfsuite

                self._model = pycrfsuite.Tagger()
                self._model.open(str(resources() / "pos" / "model.crf"))
            return self._model.tag(features)


@lru_cache(maxsize=4096)
def _local(word: str) -> dict[str, str | float | bool]:
    """The features that the model was trained with, read off the names of its attributes."""
    return {
        "bias": 1.0,
        "word": base64.b64encode(word.encode()).decode("ascii"),
        "len(word)": float(len(word)),
        "word[:2]": word[:2],
        "word[:3]": word[:3],
        "word[-2:]": word[-2:],
        "word[-3:]": word[-3:],
        "word.ispunctuation": word in string.punctuation,
        "word.isdigit()": word.isdigit(),
    }
