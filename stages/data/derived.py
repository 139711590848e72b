"""Arrays that a model makes of each utterance (codes, embeddings): made once by content, in worker processes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.artifacts import ArtifactStore
from stages.data.features import STORE, Corpus, load_features
from stages.data.pool import in_chunks

CHUNK = 32
"""utterances that a worker takes at a time and stores with one commit"""


def derive(
    corpus: Corpus,
    keys: Sequence[str],
    compute: Callable[..., np.ndarray],
    arguments: tuple[Any, ...] = (),
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    store: ArtifactStore | None = None,
    few: int = 256,
) -> list[np.ndarray]:
    """The array of each utterance: from the store, or `compute(corpus, i, *arguments)`, which is stored.

    Args:
        keys: (U,) of everything that can change an utterance's array.
        compute: a function of a module.
        progress: told (utterances done, utterances to compute).
        store: None = the folder `utterances` beside the features.
        few: that many are computed before worker processes have started.

    Raises:
        StoreError: the store cannot be written; and what `compute` raises.
    """
    store = store or ArtifactStore(corpus.folder.parent / STORE)
    found = {key: array for key in dict.fromkeys(keys) if (array := _read(store, key)) is not None}
    jobs = [(i, key) for key, i in {key: i for i, key in enumerate(keys) if key not in found}.items()]
    made = in_chunks(_compute, (corpus.folder, store, compute, arguments), jobs, workers, CHUNK, progress, few)
    found.update(zip((key for _, key in jobs), made, strict=True))
    return [found[key] for key in keys]


def _read(store: ArtifactStore, key: str) -> np.ndarray | None:
    entry = store.read(key)
    return entry[0].get("value") if entry else None


@functools.lru_cache(maxsize=1)
def _corpus(folder: Path) -> Corpus:
    return load_features(folder)


def _compute(
    folder: Path,
    store: ArtifactStore,
    compute: Callable[..., np.ndarray],
    arguments: tuple[Any, ...],
    jobs: Sequence[tuple[int, str]],
) -> list[np.ndarray]:
    corpus = _corpus(folder)
    out = [compute(corpus, i, *arguments) for i, _ in jobs]
    meta = {"type": "Derived"}
    store.write_many({key: ({"value": array}, meta) for (_, key), array in zip(jobs, out, strict=True)})
    return out
