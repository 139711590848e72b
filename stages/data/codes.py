"""Speech codes of a whole corpus, made once by a tokenizer checkpoint, and the phone each code is on."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core import checkpoint
from stages.core.fingerprint import digest
from stages.data.derived import derive
from stages.data.features import Corpus

VERSION = 1


@dataclass(frozen=True)
class Codes:
    """Flat codes of all utterances; row i owns codes[start[i]:start[i + 1]]."""

    codes: np.ndarray  # (sum N,) int64
    start: np.ndarray  # (U + 1,) int64
    stride: int
    """mel frames per code"""
    size: int
    codebook: str
    """digest of the tokenizer"""

    def of(self, i: int) -> np.ndarray:
        """(N,) codes of utterance i."""
        return self.codes[int(self.start[i]) : int(self.start[i + 1])]


def pointers(corpus: Corpus, i: int, stride: int, most: int) -> np.ndarray:
    """(N,) index of the phone at the middle of each code, from 0 on, moving on by at most `most` phones a code."""
    ends = corpus.phone_end[corpus.phones_of(i)]
    return code_places(ends, int(corpus.lengths[i]), stride, corpus.spec.frame_rate, most)


def code_places(ends: np.ndarray, frames: int, stride: int, frame_rate: float, most: int) -> np.ndarray:
    """(N,) index of the phone at the middle of each code, from phone ends (P,) in seconds; see `pointers`."""
    middle = (np.arange(-(-frames // stride)) + 0.5) * stride / frame_rate
    place = np.searchsorted(ends, middle, side="right").clip(0, len(ends) - 1)
    place[0] = 0
    for n in range(1, len(place)):  # phones shorter than a code may pile up; spread them over the codes that follow
        place[n] = min(place[n], place[n - 1] + most)
    return place


def code_phones(corpus: Corpus, i: int, stride: int, most: int) -> np.ndarray | None:
    """(N,) symbol id of each code's phone in utterance i; None when the corpus has no phone timings."""
    phones = corpus.phones[corpus.phones_of(i)].astype(np.int64)
    return phones[pointers(corpus, i, stride, most)] if len(phones) else None


def codebook_of(folder: str | Path) -> str:
    """A tokenizer's identity: the digest of the checkpoint that training wrote; released (rounded) copies keep it."""
    return str(checkpoint.read_meta(folder).get("codebook") or checkpoint.checkpoint_digest(folder))


def read_codes(
    folder: str, corpus: Corpus, workers: int = 2, progress: Callable[[int, int], None] | None = None
) -> Codes:
    """Codes of the corpus by the tokenizer in `folder`: read from beside the features, or made there first.

    Utterances that the store beside the features has by mel and codebook are not encoded again.

    Args:
        progress: told (utterances done, utterances to encode).

    Raises:
        CheckpointError: the tokenizer cannot be used or is of another AudioSpec.
    """
    config = checkpoint.model_config(checkpoint.read(folder, "codes"), _config_class())
    if config.audio.digest != corpus.spec.digest:
        raise checkpoint.CheckpointError(
            f"{folder}: its AudioSpec is not the corpus's; train the tokenizer on this corpus"
        )
    codebook = codebook_of(folder)
    path = corpus.folder / f"codes-{codebook[:16]}.npy"
    if not path.exists():
        weights = checkpoint.checkpoint_digest(folder)  # a rounded copy has the same codebook, but may round otherwise
        keys = [_key(corpus, i, weights) for i in range(len(corpus))]
        parts = derive(corpus, keys, _encode, (folder, weights), workers, progress)
        partial = path.with_suffix(f".{os.getpid()}.partial.npy")  # runs may start side by side
        np.save(partial, np.concatenate(parts))
        os.replace(partial, path)
    count = -(-corpus.lengths // config.stride)
    return Codes(
        np.load(path, allow_pickle=False),
        np.concatenate(([0], np.cumsum(count))),
        config.stride,
        int(np.prod(config.levels)),
        codebook,
    )


def _key(corpus: Corpus, i: int, weights: str) -> str:
    mel = hashlib.sha256(corpus.mel[corpus.frames_of(i)].tobytes()).hexdigest()
    return digest(["codes", VERSION, weights, corpus.spec.digest, mel])


def _config_class() -> Any:
    from stages.codes.model import CodesModelConfig

    return CodesModelConfig


@functools.lru_cache(maxsize=1)
def _tokenizer(folder: str, weights: str) -> Any:
    """The model of this process; `weights` is only a part of the cache's key."""
    import torch

    from stages.codes.model import SpeechTokenizer

    found = checkpoint.read(folder, "codes")
    with torch.random.fork_rng(devices=[]):  # the next model's initial weights must not depend on whether this ran
        model = SpeechTokenizer(checkpoint.model_config(found, _config_class()))
    checkpoint.load_strict(model, found)
    return model.eval()


def _encode(corpus: Corpus, i: int, folder: str, weights: str) -> np.ndarray:
    """(N,) codes of utterance i."""
    import torch

    mel = torch.from_numpy(corpus.mel[corpus.frames_of(i)].astype(np.float32))
    with torch.inference_mode():
        return _tokenizer(folder, weights).encode(mel[None])[0].numpy()
