"""Which utterances are a step's batch: a pure function of the seed and the step, so that a resume needs no state."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.core.config import ConfigError
from stages.data.features import Corpus


def is_validation(text_id: str, share: float = 0.01) -> bool:
    """Whether an utterance is held out for validation: by its id's own digits, the same in every run."""
    digits = text_id.rsplit("-", 1)[-1][:8]
    try:
        number = int(digits, 16)
    except ValueError:  # a corpus with ids of another kind
        number = int(hashlib.sha256(text_id.encode()).hexdigest()[:8], 16)
    return number / 0x100000000 < share


def held_out(ids: list[str]) -> np.ndarray:
    """(U,) which utterances are held out: those of `is_validation`, or the last one of a corpus too small to have any.

    Raises:
        ConfigError: fewer than two utterances.
    """
    if len(ids) < 2:
        raise ConfigError(
            f"the corpus holds {len(ids)} utterances; training needs at least two, one to train and one to check"
        )
    held = np.array([is_validation(i) for i in ids])
    if held.all() or not held.any():
        held = np.arange(len(ids)) == len(ids) - 1
    return held


class LengthBuckets:
    """Batches of similar length under a budget of positions; every item once an epoch, none dropped.

    Args:
        lengths: (U,) positions of each item.
        budget: positions a batch may hold, padding included; an item longer than the budget makes a batch of its own.
    """

    def __init__(self, lengths: np.ndarray, budget: int, seed: int) -> None:
        self.lengths, self.budget, self.seed = lengths, budget, seed
        self._first_step, self._epoch = 0, 0
        self._batches = self._make(0)

    def _make(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self.seed, epoch])
        order = np.argsort(self.lengths * rng.uniform(0.95, 1.05, len(self.lengths)), kind="stable")
        batches, start = [], 0
        for end in range(1, len(order) + 1):
            full = end == len(order) or (self.lengths[order[start : end + 1]].max() * (end + 1 - start) > self.budget)
            if full:
                batches.append(order[start:end])
                start = end
        return [batches[i] for i in rng.permutation(len(batches))]

    def batch(self, step: int) -> np.ndarray:
        """Item indices of step `step` (0-based)."""
        if step < self._first_step:
            self._first_step, self._epoch, self._batches = 0, 0, self._make(0)
        while step >= self._first_step + len(self._batches):
            self._first_step += len(self._batches)
            self._epoch += 1
            self._batches = self._make(self._epoch)
        return self._batches[step - self._first_step]

    def fullest(self) -> int:
        """The step of the first epoch whose batch has the most items."""
        return max(enumerate(self._make(0)), key=lambda numbered: len(numbered[1]))[0]

    def waste(self, *parts: np.ndarray) -> float:
        """Share of an epoch's positions that are padding.

        Args:
            parts: (U,) lengths of what is padded on its own and adds up to `lengths`; without them, `lengths`.
        """
        padded = sum(len(b) * part[b].max() for b in self._batches for part in parts or (self.lengths,))
        return 1 - float(self.lengths.sum()) / float(padded)


class Crops:
    """Random fixed-length crops, every utterance as likely as it is long, with a crop of the same speaker as reference.

    Args:
        starts: (U + 1,) first frame of each utterance in the flat arrays.
        speaker_of: (U,) speaker index.
        weights: (U,) further weight of each utterance.
    """

    def __init__(
        self, starts: np.ndarray, speaker_of: np.ndarray, rows: np.ndarray, weights: np.ndarray, seed: int
    ) -> None:
        self.starts, self.speaker_of, self.rows, self.seed = starts, speaker_of, rows, seed
        mass = np.diff(starts)[rows] * weights[rows]
        self.probability = mass / mass.sum()
        self.by_speaker = {s: rows[speaker_of[rows] == s] for s in np.unique(speaker_of[rows])}

    def batch(self, step: int, size: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
        """(size,) utterances, (size,) reference utterances of the same speakers, the generator for crop positions."""
        rng = np.random.default_rng([self.seed, step])
        items = rng.choice(self.rows, size, p=self.probability)
        references = np.array([rng.choice(self.by_speaker[self.speaker_of[i]]) for i in items])
        return items, references, rng


class Ahead:
    """Builds batches in a thread of its own while earlier ones are computed with; a context manager.

    Batches are functions of their numbers, so it changes nothing but the time they are ready.

    Args:
        numbers: of the batches, in the order they will be asked for.
        depth: how many are built ahead; 0 = none, each when it is asked for.
    """

    def __init__(self, build: Callable[[int], Any], numbers: Iterable[int], depth: int) -> None:
        self._build, self._numbers, self._depth = build, iter(numbers), depth
        self._waiting: deque[tuple[int, Future[Any]]] = deque()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Ahead:
        if self._depth:
            threads = torch.get_num_threads()  # a new thread would take torch's default
            self._pool = ThreadPoolExecutor(1, "batches", torch.set_num_threads, (threads,))
            self._fill()
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __next__(self) -> tuple[int, Any]:
        """The next number and its batch. Raises StopIteration after the last one, and what building it raised."""
        if self._pool is None:
            number = next(self._numbers)
            return number, self._build(number)
        self._fill()
        if not self._waiting:
            raise StopIteration
        number, future = self._waiting.popleft()
        batch = future.result()
        self._fill()
        return number, batch

    def __iter__(self) -> Ahead:
        return self

    def _fill(self) -> None:
        assert self._pool is not None
        while len(self._waiting) < self._depth:
            number = next(self._numbers, None)
            if number is None:
                return
            self._waiting.append((number, self._pool.submit(self._build, number)))


def crop(frames: np.ndarray, length: int, rng: np.random.Generator, fill: float) -> tuple[np.ndarray, int]:
    """A random crop of `length` frames of (T, M), padded with `fill` at its end when shorter; and where it starts."""
    start = int(rng.integers(0, max(len(frames) - length, 0) + 1))
    out = np.full((length, *frames.shape[1:]), fill, dtype=np.float32)
    part = frames[start : start + length]
    out[: len(part)] = part
    return out, start


def speaker_weights(corpus: Corpus, weights: dict[str, float]) -> np.ndarray:
    """(U,) sampling weight of each utterance by its speaker; 1 where none is given."""
    return np.array([weights.get(corpus.speakers[s], 1.0) for s in corpus.speaker_of])


def frame_phones(corpus: Corpus, i: int, stride: int) -> np.ndarray:
    """(ceil(T / stride),) phone id at the middle of each group of `stride` frames of utterance i."""
    frames = int(corpus.lengths[i])
    span = corpus.phones_of(i)
    middle = (np.arange(-(-frames // stride)) + 0.5) * stride / corpus.spec.frame_rate
    place = np.searchsorted(corpus.phone_end[span], middle, side="right").clip(0, span.stop - span.start - 1)
    return corpus.phones[span][place].astype(np.int64)


def split_crops(
    corpus: Corpus, weights: dict[str, float], seed: int, among: np.ndarray | None = None
) -> tuple[Crops, Crops]:
    """Crops of the training utterances and of the held-out ones.

    Args:
        among: (R,) rows to take utterances from; None = all.
    """
    held, mass = held_out(corpus.ids), speaker_weights(corpus, weights)
    taken = np.ones(len(held), bool) if among is None else np.isin(np.arange(len(held)), among)
    return (
        Crops(corpus.frame_start, corpus.speaker_of, np.flatnonzero(~held & taken), mass, seed),
        Crops(corpus.frame_start, corpus.speaker_of, np.flatnonzero(held & taken), mass, seed + 1),
    )


def padding(*columns: list[np.ndarray]) -> float:
    """Share of the places that hold nothing when each column's rows are padded to the longest of that column."""
    places = sum(len(rows) * max(len(r) for r in rows) for rows in columns)
    return 1 - sum(len(r) for rows in columns for r in rows) / places


def pad(rows: list[np.ndarray], fill: int) -> Tensor:
    """Rows of different lengths as one (B, longest) tensor."""
    out = np.full((len(rows), max(len(r) for r in rows)), fill, np.int64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return torch.from_numpy(out)
