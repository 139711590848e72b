"""Recognisers by name: those of `core/hearing.py`, and Whisper or wav2vec2 of transformers from a local folder.

`whisper:FOLDER` and `wav2vec2:FOLDER` read safetensors only and fetch nothing.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.config import ConfigError, near_miss
from stages.core.fingerprint import digest, file_digest
from stages.core.hearing import RATE, RECOGNISERS, Recogniser
from stages.core.hearing import recogniser as embedded
from stages.evaluation.similarity import WEIGHTS, require_model

WINDOW = 30.0
"""seconds that Whisper hears at once (Radford et al. 2022); longer sound is heard window by window"""


def hear_whisper(folder: str, data: bytes) -> str:
    """What Whisper hears in one utterance (int16 mono, RATE), greedily, in English."""
    import torch

    processor, model = _whisper(folder)
    samples = _floats(data)
    long = samples.size > WINDOW * RATE
    found = processor(
        samples, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True,
        **({"truncation": False, "padding": "longest"} if long else {}),
    )  # fmt: skip
    options = {"language": "en", "task": "transcribe"} if getattr(model.generation_config, "lang_to_id", None) else {}
    with torch.inference_mode():
        ids = model.generate(
            found.input_features, attention_mask=found.attention_mask, num_beams=1, do_sample=False,
            return_timestamps=long, **options,
        )  # fmt: skip
    return str(processor.batch_decode(ids, skip_special_tokens=True)[0])


def hear_wav2vec2(folder: str, data: bytes) -> str:
    """What a wav2vec 2.0 CTC model (Baevski et al. 2020) hears in one utterance (int16 mono, RATE), greedily."""
    import torch

    processor, model = _wav2vec2(folder)
    found = processor(_floats(data), sampling_rate=RATE, return_tensors="pt")
    with torch.inference_mode():
        ids = model(found.input_values).logits.argmax(-1)
    return str(processor.batch_decode(ids)[0])


def _floats(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768.0


@functools.lru_cache(maxsize=1)
def _whisper(folder: str) -> tuple[Any, Any]:
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    return _loaded(folder, WhisperProcessor, WhisperForConditionalGeneration)


@functools.lru_cache(maxsize=1)
def _wav2vec2(folder: str) -> tuple[Any, Any]:
    from transformers import Wav2Vec2ForCTC, Wav2Vec2Processor

    return _loaded(folder, Wav2Vec2Processor, Wav2Vec2ForCTC)


def _loaded(folder: str, processor: Any, model: Any) -> tuple[Any, Any]:
    try:
        return (
            processor.from_pretrained(folder, local_files_only=True),
            model.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval(),
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"{folder}: cannot be loaded as a {model.__name__} ({reason})") from None


LOCAL: dict[str, Callable[[str, bytes], str]] = {"whisper": hear_whisper, "wav2vec2": hear_wav2vec2}
"""by the name before the colon; what is after it is a local folder"""


def recogniser(name: str) -> Recogniser:
    """The recogniser called `name`: `pocketsphinx`, `whisper:FOLDER` or `wav2vec2:FOLDER`.

    Raises:
        ConfigError: it is unknown, or its package or a file of its folder is missing.
    """
    kind, colon, folder = name.partition(":")
    if kind not in LOCAL:
        if colon or kind not in RECOGNISERS:
            known = [*RECOGNISERS, *(f"{k}:FOLDER" for k in LOCAL)]
            raise ConfigError(f"unknown recogniser {name!r}{near_miss(name, known)}")
        return embedded(name)
    require_model(name, folder)
    return Recogniser(name, functools.partial(LOCAL[kind], folder), functools.partial(_version, kind, folder))


def _version(kind: str, folder: str) -> str:
    files = sorted(p for p in Path(folder).iterdir() if p.suffix in (".json", ".txt") or p.name == WEIGHTS)
    package = importlib.metadata.version("transformers")
    return f"{kind} {digest([[p.name, file_digest(p)] for p in files])} transformers {package}"
