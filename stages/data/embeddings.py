"""Embeddings of a corpus, made only when a model asks: of the speakers (resemblyzer) and of the words (a BERT)."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.config import ConfigError
from stages.core.fingerprint import digest
from stages.core.symbols import SYMBOLS
from stages.core.types import Audio
from stages.data.derived import derive
from stages.data.features import Corpus
from stages.nn.words import model_digest

VERSION = 1
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SpeakerEmbeddings:
    """Unit vectors of d = 256 numbers (generalized end-to-end loss, Wan et al. 2018)."""

    utterances: dict[str, np.ndarray]  # (d,) float32 by id; one without speech has none
    speakers: dict[str, np.ndarray]  # (d,) float32 by name: the mean of its utterances, made a unit vector
    silent: tuple[str, ...]
    """ids of utterances in which no speech is found"""


def speaker_embeddings(corpus: Corpus, workers: int = 2, progress: Progress | None = None) -> SpeakerEmbeddings:
    """Embeddings of all utterances and speakers; kept in the store by content.

    Raises:
        ConfigError: a speaker without any speech.
    """
    version = importlib.metadata.version("resemblyzer")
    keys = [
        digest(["speaker", VERSION, version, corpus.spec.sample_rate, _hash(corpus.audio[corpus.samples_of(i)])])
        for i in range(len(corpus))
    ]
    found = derive(corpus, keys, _speaker, (), workers, progress)
    heard = {name: vector for name, vector in zip(corpus.ids, found, strict=True) if vector.size}
    speakers = {}
    for number, speaker in enumerate(corpus.speakers):
        own = [found[i] for i in np.flatnonzero(corpus.speaker_of == number).tolist() if found[i].size]
        if not own:
            raise ConfigError(
                f"{corpus.folder}: no utterance of speaker {speaker!r} has speech; leave that speaker out"
            )
        mean = np.mean(own, axis=0)
        speakers[speaker] = (mean / np.linalg.norm(mean)).astype(np.float32)
    return SpeakerEmbeddings(heard, speakers, tuple(name for name in corpus.ids if name not in heard))


def _hash(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def _speaker(corpus: Corpus, i: int) -> np.ndarray:
    """(d,) float32, or (0,) where no speech is found."""
    from stages.core.speakers import embed

    samples = corpus.audio[corpus.samples_of(i)].astype(np.float32) / 32767
    vector = embed(Audio(samples, corpus.spec.sample_rate))
    return np.zeros(0, np.float32) if vector is None else vector.astype(np.float32)


def text_embeddings(
    corpus: Corpus, model: str | Path, workers: int = 2, progress: Progress | None = None
) -> np.ndarray:
    """Contextual word vectors at the corpus's phones: (sum P, D) float16, a memory map beside the features.

    A phone has the mean of the last layer over the pieces of its word (Devlin et al. 2019); a pause that of the word
    before it, the first pause the vector of the sentence's start.

    Args:
        model: folder of a transformers encoder with safetensors weights and a fast tokenizer.

    Raises:
        ConfigError: no such model there, or a text it cannot read; the row is named.
    """
    weights = model_digest(model)
    path = corpus.folder / f"bert-{weights[:16]}.npy"
    if not path.exists():
        keys = [
            digest(["bert", VERSION, weights, corpus.texts[i], corpus.phones[corpus.phones_of(i)].tolist()])
            for i in range(len(corpus))
        ]
        parts = derive(corpus, keys, _words, (str(model), weights), workers, progress)
        partial = path.with_suffix(f".{os.getpid()}.partial.npy")  # runs may start side by side
        np.save(partial, np.concatenate(parts))
        os.replace(partial, path)
    return np.load(path, mmap_mode="r", allow_pickle=False)


@functools.lru_cache(maxsize=1)
def _encoder(folder: str, weights: str) -> Any:
    """The encoder of this process; `weights` is only a part of the cache's key."""
    from stages.nn.words import WordEncoder

    return WordEncoder(folder)


@functools.lru_cache(maxsize=1)
def _text() -> Any:
    from stages.text.stage import TextConfig, TextStage

    return TextStage.load(TextConfig())


def _words(corpus: Corpus, i: int, folder: str, weights: str) -> np.ndarray:
    """(P, D) float16 of utterance i. Raises ConfigError."""
    words = _text().run([{str: corpus.texts[i]}])[0].words
    said = [SYMBOLS[n] for n in corpus.phones[corpus.phones_of(i)].tolist()]
    try:
        return _encoder(folder, weights).at_phones(said, words).astype(np.float16)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{corpus.ids[i]}: {error}") from None
