"""Embeddings of a corpus, made only when a model asks: of the speakers (resemblyzer) and of the words (a BERT)."""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib.metadata
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.config import ConfigError
from stages.core.fingerprint import digest, file_digest
from stages.core.symbols import SYMBOLS
from stages.core.types import PAUSE, Audio
from stages.data.derived import derive
from stages.data.features import Corpus

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
    from stages.rerank.listeners import embed

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
    folder = Path(model)
    weights = _model_digest(folder)
    path = corpus.folder / f"bert-{weights[:16]}.npy"
    if not path.exists():
        keys = [
            digest(["bert", VERSION, weights, corpus.texts[i], corpus.phones[corpus.phones_of(i)].tolist()])
            for i in range(len(corpus))
        ]
        parts = derive(corpus, keys, _words, (str(folder), weights), workers, progress)
        partial = path.with_suffix(f".{os.getpid()}.partial.npy")  # runs may start side by side
        np.save(partial, np.concatenate(parts))
        os.replace(partial, path)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _model_digest(folder: Path) -> str:
    """sha256 over weights, hyper-parameters and tokenizer. Raises ConfigError when one is missing."""
    if not str(folder).strip(".") or not folder.is_dir():
        raise ConfigError(
            f"bert: {str(folder)!r} is no folder; name the folder of a transformers encoder (config.json, "
            "model.safetensors, tokenizer.json)"
        )
    files = ("config.json", "model.safetensors", "tokenizer.json")
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise ConfigError(f"bert: {folder} has no {', '.join(missing)}; name the folder of a transformers encoder")
    return digest([file_digest(folder / name) for name in files])


@functools.lru_cache(maxsize=1)
def _bert(folder: str, weights: str) -> tuple[Any, Any]:
    """Tokenizer and model of this process; `weights` is only a part of the cache's key."""
    from safetensors import SafetensorError
    from transformers import AutoModel, PreTrainedTokenizerFast

    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"bert: {folder} cannot be loaded ({reason}); name a transformers encoder") from None
    return tokenizer, model.eval()


@functools.lru_cache(maxsize=1)
def _text() -> Any:
    from stages.text.stage import TextConfig, TextStage

    return TextStage.load(TextConfig())


def _words(corpus: Corpus, i: int, folder: str, weights: str) -> np.ndarray:
    """(P, D) float16 of utterance i. Raises ConfigError."""
    phonemes = _text().run([{str: corpus.texts[i]}])[0]
    vectors = _encode([word.spoken for word in phonemes.words], folder, weights, corpus.ids[i])
    said = [SYMBOLS[n] for n in corpus.phones[corpus.phones_of(i)].tolist()]
    return vectors[word_places(said, [word.phones for word in phonemes.words])].astype(np.float16)


def _encode(words: Sequence[str], folder: str, weights: str, name: str) -> np.ndarray:
    """(1 + W, D) vectors of the sentence's start and of each word."""
    import torch

    tokenizer, model = _bert(folder, weights)
    pieces = tokenizer([list(words)], is_split_into_words=True, return_tensors="pt")
    most = getattr(model.config, "max_position_embeddings", None)
    if most is not None and pieces["input_ids"].shape[1] > most:
        raise ConfigError(f"{name}: its text has more pieces than the {most} that {folder} reads; shorten the text")
    with torch.inference_mode():
        hidden = model(input_ids=pieces["input_ids"], attention_mask=pieces["attention_mask"]).last_hidden_state[0]
    place = np.array([-1 if n is None else n for n in pieces.word_ids(0)])
    rows = [hidden[0].numpy()]
    for n, word in enumerate(words):
        own = np.flatnonzero(place == n)
        if not len(own):
            raise ConfigError(f"{name}: the tokenizer of {folder} has nothing for {word!r}; use one that knows it")
        rows.append(hidden[torch.from_numpy(own)].mean(0).numpy())
    return np.stack(rows)


def word_places(said: Sequence[str], words: Sequence[Sequence[str]]) -> np.ndarray:
    """(P,) which word each phone that was said belongs to, from 1; 0 is the pause before the first.

    Phones that were said otherwise than `words` has them belong to the word of the nearest phone before them that
    both have; never moves back.
    """
    owner = [n for n, word in enumerate(words, 1) for _ in word]
    spoken = [p for p, phone in enumerate(said) if phone != PAUSE]
    wanted = [phone for word in words for phone in word]
    out = np.full(len(said), -1)
    match = difflib.SequenceMatcher(None, [said[p] for p in spoken], wanted, autojunk=False)
    for block in match.get_matching_blocks():
        for n in range(block.size):
            out[spoken[block.a + n]] = owner[block.b + n]
    last = 0
    for p, phone in enumerate(said):
        if out[p] < 0:
            out[p] = last if phone == PAUSE else max(last, 1)
        last = out[p]
    return out
