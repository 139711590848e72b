"""Speech codes of a whole corpus, made once by a tokenizer checkpoint, and the phone each code is on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core import checkpoint
from stages.data.features import Corpus


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
    frames = int(corpus.lengths[i])
    span = corpus.phones_of(i)
    count = span.stop - span.start
    middle = (np.arange(-(-frames // stride)) + 0.5) * stride / corpus.spec.frame_rate
    place = np.searchsorted(corpus.phone_end[span], middle, side="right").clip(0, count - 1)
    place[0] = 0
    for n in range(1, len(place)):  # phones shorter than a code may pile up; spread them over the codes that follow
        place[n] = min(place[n], place[n - 1] + most)
    return place


def codebook_of(folder: str | Path) -> str:
    """A tokenizer's identity: the digest of the checkpoint that training wrote; released (rounded) copies keep it."""
    return str(checkpoint.read_meta(folder).get("codebook") or checkpoint.checkpoint_digest(folder))


def read_codes(folder: str, corpus: Corpus) -> Codes:
    """Codes of the corpus by the tokenizer in `folder`: read from beside the features, or made there first."""
    from stages.codes.model import CodesModelConfig

    found = checkpoint.read(folder, "codes")
    config = checkpoint.model_config(found, CodesModelConfig)
    if config.audio.digest != corpus.spec.digest:
        raise checkpoint.CheckpointError(
            f"{folder}: its AudioSpec is not the corpus's; train the tokenizer on this corpus"
        )
    codebook = codebook_of(folder)
    path = corpus.folder / f"codes-{codebook[:16]}.npy"
    if not path.exists():
        partial = path.with_suffix(f".{os.getpid()}.partial.npy")  # runs may start side by side
        np.save(partial, _encode(found, config, corpus))
        os.replace(partial, path)
    count = -(-corpus.lengths // config.stride)
    return Codes(
        np.load(path, allow_pickle=False),
        np.concatenate(([0], np.cumsum(count))),
        config.stride,
        int(np.prod(config.levels)),
        codebook,
    )


def _encode(found: checkpoint.Checkpoint, config: object, corpus: Corpus) -> np.ndarray:
    import torch

    from stages.codes.model import SpeechTokenizer

    with torch.random.fork_rng(devices=[]):  # the next model's initial weights must not depend on whether this ran
        model = SpeechTokenizer(config)  # type: ignore[arg-type]
    checkpoint.load_strict(model, found)
    model.eval()
    with torch.inference_mode():
        parts = [
            model.encode(torch.from_numpy(corpus.mel[corpus.frames_of(i)].astype(np.float32))[None])[0].numpy()
            for i in range(len(corpus))
        ]
    return np.concatenate(parts)
