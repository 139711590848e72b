"""Speaker similarity (SECS): the cosine of two speaker embeddings, raw and against same- and cross-speaker baselines.

A raw cosine means little by itself: with Resemblyzer two clips of one flite voice have 0.86 to 0.95, two voices 0.44 to
0.75, and white noise against a voice 0.5. So it is also given as a share of the way from the cross-speaker mean (0) to
the same-speaker mean (1).
"""

from __future__ import annotations

import functools
import importlib.metadata
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stages.core.artifacts import ArtifactStore
from stages.core.config import ConfigError, near_miss
from stages.core.fingerprint import digest, file_digest
from stages.core.hearing import RATE
from stages.core.speakers import speaker_model, speech_of
from stages.core.types import Audio
from stages.data.pool import in_chunks
from stages.evaluation.levels import NotMeasurable, content, sound

VERSION = 1
"""of what is done before the encoders"""
LEAST = 1.0
"""seconds of speech without which an embedding says little of who speaks"""
CHUNK = 8
"""clips that a worker takes at a time"""
WEIGHTS = "model.safetensors"


class SpeakerEncoder(Protocol):
    """Turns the voice of a clip into a vector."""

    @property
    def name(self) -> str:
        """As a configuration calls it."""
        ...

    def version(self) -> str:
        """Everything that can change a vector. Raises ConfigError when package or weights are missing."""
        ...

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """(L,) float32 at RATE -> (D,) a unit vector. Raises NotMeasurable: too little speech."""
        ...


@dataclass(frozen=True)
class Resemblyzer:
    """Resemblyzer's encoder (Wan et al. 2018, generalized end-to-end loss), 256 values, weights in its package.

    Long silences are cut as its package does; LEAST is of what is left. Volume is brought to -30 dB: the package only
    raises it, and its detector of speech then cuts loud clips in other places than the same clips played softer.
    """

    name: str = "resemblyzer"

    def version(self) -> str:
        try:
            return f"resemblyzer {importlib.metadata.version('resemblyzer')}, own {VERSION}"
        except importlib.metadata.PackageNotFoundError:
            raise ConfigError("speaker encoder 'resemblyzer' is not installed; run `uv sync`") from None

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        return _unit(speaker_model().embed_utterance(_speech(samples)))

    def windows(self, samples: np.ndarray) -> np.ndarray:
        """(L,) at RATE -> (n, 256) float32, a unit vector for every window of 1.6 s. Raises NotMeasurable."""
        _, parts, _ = speaker_model().embed_utterance(_speech(samples), return_partials=True)
        return np.ascontiguousarray(parts, np.float32)


@dataclass(frozen=True)
class WavLM:
    """WavLMForXVector of transformers (Chen et al. 2022) from a local folder, safetensors only; nothing is fetched."""

    folder: str

    @property
    def name(self) -> str:
        return f"wavlm:{self.folder}"

    def version(self) -> str:
        require_model(self.name, self.folder)
        return f"wavlm {file_digest(Path(self.folder) / WEIGHTS)} {file_digest(Path(self.folder) / 'config.json')}"

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        import torch

        _check_length(samples)
        model = _wavlm(self.folder)
        scaled = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)  # Wav2Vec2FeatureExtractor's do_normalize
        with torch.inference_mode():
            return _unit(model(torch.from_numpy(scaled.astype(np.float32))[None]).embeddings[0].numpy())


def _speech(samples: np.ndarray) -> np.ndarray:
    """What Resemblyzer listens to. Raises NotMeasurable: too little."""
    speech = speech_of(samples)
    _check_length(speech)
    return speech


@functools.lru_cache(maxsize=1)
def _wavlm(folder: str) -> Any:
    from transformers import WavLMForXVector

    return WavLMForXVector.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()


def require_model(name: str, folder: str) -> None:
    """Checks that transformers and a model in a local folder are there. Raises ConfigError naming what is missing."""
    try:
        importlib.metadata.version("transformers")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError(
            f"{name!r} needs the package transformers, which is not installed; run `uv pip install transformers`"
        ) from None
    for file in ("config.json", WEIGHTS):
        if not (Path(folder) / file).is_file():
            raise ConfigError(f"{name!r}: {folder or '(no folder)'} holds no {file}; give the folder of a model there")


def _check_length(speech: np.ndarray) -> None:
    if speech.size < LEAST * RATE:
        raise NotMeasurable(f"{speech.size / RATE:.2f} s of speech is too little to tell the speaker ({LEAST:g} s)")


def _unit(vector: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0:
        raise NotMeasurable("the speaker encoder gave no direction")
    return (vector / length).astype(np.float32)


ENCODERS: dict[str, Callable[[str], SpeakerEncoder]] = {"resemblyzer": lambda _: Resemblyzer(), "wavlm": WavLM}
"""by the name before the colon; what is after it is a local folder"""


def encoder(name: str = "resemblyzer") -> SpeakerEncoder:
    """`resemblyzer`, or `wavlm:FOLDER`. Raises ConfigError: unknown, or package or weights are missing."""
    kind, _, folder = name.partition(":")
    if kind not in ENCODERS:
        raise ConfigError(f"unknown speaker encoder {name!r}{near_miss(kind, ENCODERS)}")
    made = ENCODERS[kind](folder)
    made.version()
    return made


@dataclass(frozen=True, eq=False)
class Embedding:
    """A speaker's vector, or why there is none."""

    vector: np.ndarray | None  # (D,) float32, unit length
    reason: str = ""


def embeddings(
    clips: Sequence[Audio | None],
    by: SpeakerEncoder,
    workers: int = 1,
    store: ArtifactStore | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Embedding]:
    """Who speaks in every clip, in order; no result depends on `workers`.

    Args:
        store: vectors by sound and encoder are kept there and not made again.
        progress: told (clips done, clips) of those that must be computed.
    """
    version = by.version()
    keys = [digest(["speaker", version, content(clip)]) for clip in clips]
    known = {key: _kept(store, key) for key in keys}
    todo = {key: clip for key, clip in zip(keys, clips, strict=True) if known[key] is None}
    made = in_chunks(_embed, (by,), list(todo.values()), workers, CHUNK, progress, few=2 * CHUNK)
    for key, found in zip(todo, made, strict=True):
        known[key] = found
        if store is not None:
            arrays = {} if found.vector is None else {"vector": found.vector}
            store.write(key, arrays, {"type": "Speaker", "reason": found.reason})
    return [known[key] or Embedding(None, "not computed") for key in keys]


def _kept(store: ArtifactStore | None, key: str) -> Embedding | None:
    entry = store.read(key) if store is not None and store.has(key) else None
    if entry is None or entry[1].get("type") != "Speaker":
        return None
    return Embedding(entry[0].get("vector"), str(entry[1].get("reason", "")))


def _embed(by: SpeakerEncoder, clips: Sequence[Audio | None]) -> list[Embedding]:
    out = []
    for clip in clips:
        try:
            out.append(Embedding(by(sound(clip))))
        except NotMeasurable as error:
            out.append(Embedding(None, str(error)))
    return out


def secs(one: Embedding, other: Embedding) -> float:
    """Cosine of two embeddings, in [-1, 1]. Raises NotMeasurable with the reason of the one that has no vector."""
    for each in (one, other):
        if each.vector is None:
            raise NotMeasurable(each.reason)
    assert one.vector is not None and other.vector is not None
    return float(np.clip(one.vector @ other.vector, -1.0, 1.0))


@dataclass(frozen=True)
class Baselines:
    """What the cosine is for one speaker and for two, with this encoder and these voices."""

    same: float
    """mean over pairs of clips of one speaker"""
    cross: float
    """mean over pairs of clips of two speakers"""
    same_pairs: int
    cross_pairs: int


def baselines(by_speaker: Mapping[str, Sequence[Embedding]]) -> Baselines:
    """From real clips; those without a vector do not count.

    Raises:
        NotMeasurable: no speaker with two clips, or not two speakers; or the same speaker is no more alike than two.
    """
    known = {s: [e.vector for e in clips if e.vector is not None] for s, clips in by_speaker.items()}
    same = [float(a @ b) for clips in known.values() for a, b in itertools.combinations(clips, 2)]
    cross = [float(a @ b) for one, two in itertools.combinations(known.values(), 2) for a in one for b in two]
    if not same or not cross:
        raise NotMeasurable("baselines need two clips of one speaker, and clips of two speakers")
    found = Baselines(float(np.mean(same)), float(np.mean(cross)), len(same), len(cross))
    if found.same <= found.cross:
        raise NotMeasurable(
            f"one speaker's clips (cosine {found.same:.2f}) are no more alike than two speakers' ({found.cross:.2f})"
        )
    return found


def normalised(raw: float, same: float, cross: float) -> float:
    """(raw - cross) / (same - cross): 0 as two speakers, 1 as one. Raises ValueError when same is not above cross."""
    if not same > cross:
        raise ValueError(f"the same-speaker baseline {same} must be above the cross-speaker baseline {cross}")
    return (raw - cross) / (same - cross)
