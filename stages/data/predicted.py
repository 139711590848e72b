"""Mels of a corpus as the diffusion predicts them from the true codes: what a vocoder is fine-tuned on.

A vocoder that only ever saw true mels hears the diffusion's smoother ones as something else; the remedy is to train it
on predicted mels of true length beside the true sound (Shen et al. 2018, section 2.3; Kong et al. 2020, section 3.4).
The codes are the tokenizer's own, so every predicted frame lies where the true one does.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stages.core import checkpoint
from stages.core.config import ConfigError, to_plain
from stages.core.files import sync_folder
from stages.core.fingerprint import digest
from stages.core.seeding import item_seed
from stages.core.types import Audio, RankedCodes, SpeechCodes, Voice
from stages.core.voices import clip_digest
from stages.data.batching import held_out
from stages.data.codes import Codes, code_phones, read_codes
from stages.data.features import Corpus
from stages.diffusion.config import SPEC, DiffusionConfig

VERSION = 1
CHUNK = 16
"""utterances that are written at a time: what an interruption loses at most"""
REFERENCES = 4
"""clips of each speaker that the diffusion hears in turn"""
REFERENCE_SECONDS = 2.0
"""a clip is no shorter where the speaker has longer ones"""
MOVES = 3
"""phones that a code may move on by at most when the diffusion's checkpoint does not say"""


@dataclass(frozen=True)
class PredictedConfig:
    """The `objective.predicted:` part of a vocoder's training config."""

    codes: str = "artifacts/starter/codes"
    """checkpoint of the tokenizer"""
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    """checkpoint and sampler settings, those of synthesis by default"""
    utterances: int = 2000
    """how many of the corpus are predicted, evenly spaced; 0 = all"""

    def __post_init__(self) -> None:
        if self.utterances < 0 or self.utterances == 1:
            raise ValueError(f"utterances must be 0 (all) or at least 2, not {self.utterances}")


@dataclass(frozen=True)
class PredictedMels:
    """Predicted mels of some utterances, frame for frame beside the true ones."""

    mel: np.ndarray  # (sum T of `rows`, M) float16
    rows: np.ndarray  # (R,) int64 utterances that are there, ascending
    start: np.ndarray  # (R + 1,) int64 first frame of each
    key: str
    """digest of what they were made from"""

    def of(self, i: int) -> np.ndarray:
        """(T, M) of utterance i. Raises KeyError when it is not there."""
        place = int(np.searchsorted(self.rows, i))
        if place == len(self.rows) or self.rows[place] != i:
            raise KeyError(f"utterance {i} has no predicted mel")
        return self.mel[int(self.start[place]) : int(self.start[place + 1])]


def read_predicted(
    config: PredictedConfig, corpus: Corpus, progress: Callable[[int, int], None] | None = None
) -> PredictedMels:
    """Predicted mels of a corpus: read from beside the features, or computed there first.

    An interrupted computation goes on where it was; a second process waits for the first.

    Args:
        progress: told (utterances done, utterances).

    Raises:
        CheckpointError: a checkpoint that is not there, or a diffusion of another tokenizer.
        ConfigError: another AudioSpec, or a place that cannot be written.
    """
    codes = read_codes(config.codes, corpus)
    meta = checkpoint.read_meta(config.diffusion.checkpoint)
    _check(config, meta, codes, corpus)
    rows = chosen(corpus.ids, config.utterances)
    start = np.concatenate(([0], np.cumsum(corpus.lengths[rows])))
    key = _key(config, codes, corpus, rows)
    path = corpus.folder / f"predicted-{key[:16]}.f16"
    if not path.exists():
        try:
            _compute(path, config, meta, corpus, codes, rows, start, progress)
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be written ({error.strerror}); make room there and run it again to go on"
            ) from None
    shape = (int(start[-1]), corpus.spec.n_mels)
    if path.stat().st_size != 2 * shape[0] * shape[1]:
        raise ConfigError(f"{path}: has not the size of {len(rows)} utterances; delete it and run again")
    return PredictedMels(np.memmap(path, np.float16, "r", shape=shape), rows, start, key)


def chosen(ids: list[str], count: int) -> np.ndarray:
    """(R,) rows of at most `count` utterances, evenly spaced, with at least one held-out one; 0 = all."""
    if not count or count >= len(ids):
        return np.arange(len(ids))
    held = held_out(ids)
    checks = min(int(held.sum()), max(1, count // 50))
    parts = [_spread(np.flatnonzero(~held), count - checks), _spread(np.flatnonzero(held), checks)]
    return np.sort(np.concatenate(parts))


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))]


def _check(config: PredictedConfig, meta: dict[str, Any], codes: Codes, corpus: Corpus) -> None:
    folder = config.diffusion.checkpoint
    if meta.get("audio") != corpus.spec.digest:
        raise ConfigError(f"{folder}: its AudioSpec is not the corpus's; train the diffusion on this corpus")
    if meta.get("codebook") != codes.codebook:
        raise checkpoint.CheckpointError(
            f"{folder}: renders codes of another tokenizer than {config.codes}; use checkpoints of one training"
        )


def _key(config: PredictedConfig, codes: Codes, corpus: Corpus, rows: np.ndarray) -> str:
    sampler = {k: v for k, v in to_plain(config.diffusion).items() if k != "checkpoint"}
    weights = checkpoint.checkpoint_digest(config.diffusion.checkpoint)
    return digest([VERSION, SPEC.version, weights, sampler, codes.codebook, corpus.folder.name, rows.tolist()])


def _compute(
    path: Path,
    config: PredictedConfig,
    meta: dict[str, Any],
    corpus: Corpus,
    codes: Codes,
    rows: np.ndarray,
    start: np.ndarray,
    progress: Callable[[int, int], None] | None,
) -> None:
    partial = path.with_suffix(".partial.f16")
    with open(partial, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists():  # by another process, while this one waited
            partial.unlink(missing_ok=True)
            return
        frame = 2 * corpus.spec.n_mels
        done = int(np.searchsorted(start, file.tell() // frame, side="right")) - 1
        file.truncate(int(start[done]) * frame)  # an utterance that was cut short is made again
        predict = _predictor(config, meta, corpus, codes)
        for first in range(done, len(rows), CHUNK):
            for mel in predict(rows[first : first + CHUNK]):
                file.write(mel.astype(np.float16).tobytes())
            file.flush()
            if progress:
                progress(min(first + CHUNK, len(rows)), len(rows))
        os.fsync(file.fileno())
        os.replace(partial, path)
    sync_folder(path.parent)


def _predictor(
    config: PredictedConfig, meta: dict[str, Any], corpus: Corpus, codes: Codes
) -> Callable[[np.ndarray], list[np.ndarray]]:
    """(R,) rows -> their mels (T, M), by the diffusion stage itself."""
    import torch

    from stages.diffusion.stage import DiffusionStage

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng(devices=[]):  # the next model's initial weights must not depend on whether this ran
        stage = DiffusionStage.load(config.diffusion, device)
    voices = speaker_voices(corpus)
    most = int(meta.get("experiment", {}).get("objective", {}).get("moves", MOVES))

    def predict(some: np.ndarray) -> list[np.ndarray]:
        seeds = [item_seed(0, "predicted", corpus.ids[i]) for i in some]
        items = []
        for i, seed in zip(some, seeds, strict=True):
            clips = voices[int(corpus.speaker_of[i])]
            spoken = SpeechCodes(codes.of(i), codes.codebook, code_phones(corpus, int(i), codes.stride, most))
            items.append({RankedCodes: RankedCodes(spoken, 0), Voice: clips[seed % len(clips)]})
        mels = stage.run(items, seeds=seeds)
        return [mel.frames[: corpus.lengths[i]] for i, mel in zip(some, mels, strict=True)]

    return predict


def speaker_voices(corpus: Corpus) -> dict[int, list[Voice]]:
    """A few clips of each speaker, of utterances that are trained on where there are such; by speaker index."""
    trained = ~held_out(corpus.ids)
    long = corpus.lengths >= REFERENCE_SECONDS * corpus.spec.frame_rate
    out = {}
    for speaker in np.unique(corpus.speaker_of):
        own = corpus.speaker_of == speaker
        best = next(rows for rows in (own & trained & long, own & trained, own) if rows.any())
        out[int(speaker)] = [_clip(corpus, int(i)) for i in _spread(np.flatnonzero(best), REFERENCES)]
    return out


def _clip(corpus: Corpus, i: int) -> Voice:
    frames = corpus.frames_of(i)
    samples = corpus.audio[frames.start * corpus.spec.hop : frames.stop * corpus.spec.hop].astype(np.float32) / 32768.0
    clip = Audio(samples, corpus.spec.sample_rate)
    return Voice(corpus.ids[i], clip, "of the corpus", clip_digest(clip))
