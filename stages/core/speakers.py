"""Who speaks: Resemblyzer's encoder and what it listens to, for the judge, the features and the evaluation alike."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from stages.core.hearing import RATE, pcm
from stages.core.types import Audio


def speech_of(samples: np.ndarray) -> np.ndarray:
    """(L,) float32 at 16 kHz -> its speech alone (n,): at one volume, -30 dB, long silences cut as the package does.

    The package only raises the volume; loud and quiet copies of one sound would then differ.
    """
    from resemblyzer.audio import normalize_volume, trim_long_silences
    from resemblyzer.hparams import audio_norm_target_dBFS

    level = normalize_volume(samples, audio_norm_target_dBFS)
    return np.asarray(trim_long_silences(level.clip(-1.0, 1.0)), np.float32)


@functools.lru_cache(maxsize=1)
def speaker_model() -> Any:
    """The encoder of this process (Wan et al. 2018, generalized end-to-end loss), with the weights in its package."""
    from resemblyzer import VoiceEncoder

    return VoiceEncoder("cpu", verbose=False)


def embed(audio: Audio, least: float = 0.1) -> np.ndarray | None:
    """Speaker embedding (256), a unit vector; None when a voice activity detector finds less speech than `least` s."""
    data = np.frombuffer(pcm(audio), "<i2").astype(np.float32) / 32767.0
    if not data.size:
        return None
    speech = speech_of(data)
    return np.asarray(speaker_model().embed_utterance(speech)) if speech.size >= least * RATE else None
