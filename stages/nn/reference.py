"""A Voice as the models hear it: reference mels of a clip, kept per voice."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stages.core.audio import AudioError, AudioSpec, mel_spectrogram
from stages.core.types import Voice
from stages.nn.conditioning import reference_windows


class VoiceMemory:
    """Encodes each voice once: `encode` maps windows (W, R, M) to features (W, …), averaged over the windows."""

    def __init__(self, spec: AudioSpec, encode: Callable[[Tensor], Tensor], device: str) -> None:
        self.spec, self.encode, self.device = spec, encode, device
        self.known: dict[str, Tensor] = {}

    def __call__(self, voice: Voice) -> Tensor:
        """(1, …) features of the voice. Raises AudioError when the clip has another sample rate than the model."""
        if voice.digest not in self.known:
            if voice.clip.sample_rate != self.spec.sample_rate:
                raise AudioError(
                    f"voice {voice.name!r} is at {voice.clip.sample_rate} Hz, but the model hears "
                    f"{self.spec.sample_rate} Hz; resample the clip"
                )
            mel = mel_spectrogram(torch.from_numpy(voice.clip.samples), self.spec).T
            self.known[voice.digest] = self.encode(reference_windows(mel, self.spec.silence).to(self.device)).mean(
                0, keepdim=True
            )
        return self.known[voice.digest]
