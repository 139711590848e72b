"""Fréchet distance between two sets of sounds, on Resemblyzer embeddings of 1.6 s windows.

The formula is that of Heusel et al. 2017 (FID) and Kilgour et al. 2019 (FAD); the embeddings are neither Inception's
nor VGGish's, so that the numbers compare with no published ones. Always name it in full: NAME.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from stages.core.artifacts import ArtifactStore
from stages.core.fingerprint import digest
from stages.core.types import Audio
from stages.data.pool import in_chunks
from stages.evaluation.levels import NotMeasurable, content, sound
from stages.evaluation.similarity import CHUNK, Resemblyzer

NAME = "Fréchet distance on Resemblyzer embeddings"


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½) of Gaussians fitted to two sets of vectors (n, D) and (m, D).

    The trace of the root comes from eigenvalues of the symmetric C1^½ C2 C1^½, which are real; what rounding makes
    negative is 0. It is 0 or more, and 0 for the same set.

    Raises:
        NotMeasurable: a set with no more vectors than dimensions, whose covariance would be singular.
        ValueError: vectors of other sizes, or not finite.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"two sets of vectors of one size are wanted, not {first.shape} and {second.shape}")
    need = first.shape[1] + 1
    for vectors in (first, second):
        if len(vectors) < need:
            raise NotMeasurable(f"{len(vectors)} windows of speech are too few for a Fréchet distance ({need} needed)")
        if not np.isfinite(vectors).all():
            raise ValueError("a vector holds values that are not numbers")
    one, two = (np.atleast_2d(np.cov(v, rowvar=False)) for v in (first, second))
    values, base = np.linalg.eigh(one)
    root = (base * np.sqrt(values.clip(0))) @ base.T
    cross = np.linalg.eigvalsh(root @ two @ root).clip(0)
    mean = float(np.square(first.mean(axis=0) - second.mean(axis=0)).sum())
    return max(0.0, mean + float(np.trace(one) + np.trace(two) - 2 * np.sqrt(cross).sum()))


def windows(
    clips: Sequence[Audio | None],
    workers: int = 1,
    store: ArtifactStore | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[np.ndarray | str]:
    """(n, 256) embeddings of the windows of every clip, in order, or the reason why it has none.

    Args:
        store: kept there by sound and encoder, and not made again.
        progress: told (clips done, clips) of those that must be computed.
    """
    version = Resemblyzer().version()
    keys = [digest(["speaker windows", version, content(clip)]) for clip in clips]
    known = {key: _kept(store, key) for key in keys}
    todo = {key: clip for key, clip in zip(keys, clips, strict=True) if known[key] is None}
    made = in_chunks(_windows, (), list(todo.values()), workers, CHUNK, progress, few=2 * CHUNK)
    for key, found in zip(todo, made, strict=True):
        known[key] = found
        if store is not None:
            arrays, reason = ({}, found) if isinstance(found, str) else ({"windows": found}, "")
            store.write(key, arrays, {"type": "SpeakerWindows", "reason": reason})
    return [known[key] for key in keys]  # type: ignore[misc]


def _kept(store: ArtifactStore | None, key: str) -> np.ndarray | str | None:
    entry = store.read(key) if store is not None and store.has(key) else None
    if entry is None or entry[1].get("type") != "SpeakerWindows":
        return None
    return entry[0].get("windows", str(entry[1].get("reason", "")))


def _windows(clips: Sequence[Audio | None]) -> list[np.ndarray | str]:
    out: list[np.ndarray | str] = []
    for clip in clips:
        try:
            out.append(Resemblyzer().windows(sound(clip)))
        except NotMeasurable as error:
            out.append(str(error))
    return out


def distance_of_sets(first: Sequence[np.ndarray | str], second: Sequence[np.ndarray | str]) -> float:
    """The distance between two lists as `windows` gives them. Raises NotMeasurable: too few windows."""
    return frechet_distance(*(_stacked(each) for each in (first, second)))


def _stacked(found: Sequence[np.ndarray | str]) -> np.ndarray:
    arrays = [each for each in found if not isinstance(each, str)]
    return np.concatenate(arrays) if arrays else np.zeros((0, 256), np.float32)
