"""Naturalness without a reference: DNSMOS P.835 and P.808, predicted opinion scores from 1 (bad) to 5 (excellent).

They were trained on noise suppression: they hear noise and distortion, not words. Speech played backwards scores about
as well as forwards, so they never stand alone. UTMOS is not offered: its weights are not to be had without a download
of pickled files.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.artifacts import ArtifactStore
from stages.core.config import ConfigError
from stages.core.fingerprint import digest
from stages.core.hearing import RATE
from stages.core.types import Audio
from stages.data.pool import in_chunks
from stages.evaluation.levels import NotMeasurable, content, sound

VERSION = 1
WINDOW = int(9.01 * RATE)
"""samples that the models read; a shorter clip is repeated until it is as long"""
LEAST = 0.5
"""seconds below which a clip would be repeated eighteen times: then nothing is said of it"""
CHUNK = 4
"""clips that a worker takes at a time"""
SIGNAL = (-0.08397278, 1.22083953, 0.0052439)
BACKGROUND = (-0.13166888, 1.60915514, -0.39604546)
OVERALL = (-0.06766283, 1.11546468, 0.04602535)
"""polynomials from raw outputs to scores: `get_polyfit_val` of microsoft/DNS-Challenge, DNSMOS/dnsmos_local.py"""


@dataclass(frozen=True)
class Opinion:
    """Predicted mean opinion scores (Reddy et al. 2022, DNSMOS P.835; 2021, P.808)."""

    overall: float
    signal: float
    background: float
    """how little the background intrudes"""
    p808: float
    """overall quality by the older model"""


def check_dnsmos() -> str:
    """The version of the models. Raises ConfigError when onnxruntime, speechmos or its files are missing."""
    for package in ("onnxruntime", "speechmos"):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise ConfigError(f"DNSMOS needs the package {package}, which is not installed; run `uv sync`") from None
    for path in _models():
        if not path.is_file():
            raise ConfigError(f"DNSMOS: {path} is missing; run `uv sync --reinstall-package speechmos`")
    return f"speechmos {importlib.metadata.version('speechmos')}, own {VERSION}"


def _models() -> tuple[Path, Path]:
    """The files in the package, which is not imported: it sets up sessions of its own with as many threads as cores."""
    found = importlib.util.find_spec("speechmos")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("DNSMOS needs the package speechmos, which is not installed; run `uv sync`")
    folder = Path(found.submodule_search_locations[0]) / "dnsmos_models"
    return folder / "sig_bak_ovr.onnx", folder / "model_v8.onnx"


@functools.lru_cache(maxsize=1)
def _sessions() -> tuple[Any, Any]:
    """P.835 and P.808, one thread each."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    one, other = (onnxruntime.InferenceSession(str(p), options, ["CPUExecutionProvider"]) for p in _models())
    return one, other


def dnsmos(audio: Audio | None) -> Opinion:
    """DNSMOS of one clip; means over windows of 9.01 s, one every second.

    Raises:
        NotMeasurable: missing, empty, silent, not finite, or shorter than LEAST.
    """
    samples = sound(audio).clip(-1.0, 1.0)
    if samples.size < LEAST * RATE:
        raise NotMeasurable(f"{samples.size / RATE:.2f} s is too short for DNSMOS ({LEAST:g} s)")
    while samples.size < WINDOW:  # doubling, as speechmos does, so that the scores are the same
        samples = np.concatenate([samples, samples])
    count = int(samples.size // RATE - WINDOW / RATE) + 1  # whole seconds, as speechmos counts
    windows = [samples[n * RATE : n * RATE + WINDOW] for n in range(count)]
    primary, older = _sessions()
    raw = np.array([primary.run(None, {"input_1": w[None]})[0][0] for w in windows], dtype=np.float64)
    p808 = [float(older.run(None, {"input_1": _features(w)[None]})[0][0][0]) for w in windows]
    scores = [float(np.polyval(c, raw[:, n]).mean()) for n, c in enumerate((SIGNAL, BACKGROUND, OVERALL))]
    return Opinion(scores[2], scores[0], scores[1], float(np.mean(p808)))


def _features(window: np.ndarray) -> np.ndarray:
    """(WINDOW,) -> (900, 120) float32 log-mel, as P.808 was trained on."""
    import librosa

    mel = librosa.feature.melspectrogram(y=window[:-160], sr=RATE, n_fft=321, hop_length=160, n_mels=120)
    return ((librosa.power_to_db(mel, ref=np.max) + 40) / 40).T.astype(np.float32)


def opinions(
    clips: Sequence[Audio | None],
    workers: int = 1,
    store: ArtifactStore | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Opinion | str]:
    """DNSMOS of every clip, in order, or the reason why it has none.

    Args:
        store: scores by sound are kept there and not made again.
        progress: told (clips done, clips) of those that must be computed.

    Raises:
        ConfigError: a package or a model file is missing.
    """
    version = check_dnsmos()
    keys = [digest(["dnsmos", version, content(clip)]) for clip in clips]
    known = {key: _kept(store, key) for key in keys}
    todo = {key: clip for key, clip in zip(keys, clips, strict=True) if known[key] is None}
    made = in_chunks(_score, (), list(todo.values()), workers, CHUNK, progress, few=2 * CHUNK)
    for key, found in zip(todo, made, strict=True):
        known[key] = found
        if store is not None:
            plain = {"reason": found} if isinstance(found, str) else {"opinion": vars(found)}
            store.write(key, {}, {"type": "Opinion", **plain})
    return [known[key] or "not computed" for key in keys]


def _kept(store: ArtifactStore | None, key: str) -> Opinion | str | None:
    entry = store.read(key) if store is not None and store.has(key) else None
    if entry is None or entry[1].get("type") != "Opinion":
        return None
    return Opinion(**entry[1]["opinion"]) if "opinion" in entry[1] else str(entry[1]["reason"])


def _score(clips: Sequence[Audio | None]) -> list[Opinion | str]:
    out: list[Opinion | str] = []
    for clip in clips:
        try:
            out.append(dnsmos(clip))
        except NotMeasurable as error:
            out.append(str(error))
    return out
