"""AudioSpec and the only mel function of the repository, and reading and writing of sound files."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.core.config import to_plain
from stages.core.fingerprint import digest

if TYPE_CHECKING:
    import torch


class AudioError(ValueError):
    """A sound file that cannot be used; the message names the file and the mend."""


@dataclass(frozen=True)
class AudioSpec:
    """What a mel frame means. Its digest is in every checkpoint and artifact."""

    sample_rate: int = 16000
    """samples per second"""
    n_fft: int = 1024
    """samples per window (Hann, periodic)"""
    hop: int = 256
    """samples between frames; frame t is centred on sample t * hop + hop / 2"""
    n_mels: int = 80
    fmin: float = 0.0
    fmax: float = 8000.0
    floor: float = 1e-5
    """magnitudes below this are raised to it before the natural logarithm"""
    mean: float = -5.0
    scale: float = 2.5
    """stored mel = (ln(mel magnitude) - mean) / scale, which puts speech within about [-2.7, 3]"""

    @property
    def digest(self) -> str:
        """sha256 over every field."""
        return digest(to_plain(self))

    @property
    def frame_rate(self) -> float:
        """mel frames per second"""
        return self.sample_rate / self.hop

    @property
    def silence(self) -> float:
        """Value of a mel channel at the floor."""
        return (math.log(self.floor) - self.mean) / self.scale

    def frames(self, samples: int) -> int:
        """Number of mel frames of a waveform of `samples` samples."""
        return -(-samples // self.hop)


@functools.lru_cache(maxsize=8)
def _filterbank(spec: AudioSpec) -> torch.Tensor:
    """(n_fft // 2 + 1, n_mels) triangular filters, Slaney scale and norm (as librosa's default)."""
    import torch
    import torchaudio

    with torch.inference_mode(False):  # kept for ever: one made while features are computed must also serve training
        return torchaudio.functional.melscale_fbanks(
            spec.n_fft // 2 + 1, spec.fmin, spec.fmax, spec.n_mels, spec.sample_rate, norm="slaney", mel_scale="slaney"
        )


def magnitudes(audio: torch.Tensor, n_fft: int, hop: int) -> torch.Tensor:
    """Magnitude STFT with frame t centred on t * hop + hop / 2: (…, L) -> (…, n_fft // 2 + 1, ceil(L / hop))."""
    import torch

    length = audio.shape[-1]
    frames = -(-length // hop)
    left = (n_fft - hop) // 2
    right = (frames - 1) * hop + n_fft - left - length
    # zeros, not reflection: any length works, and the first and last frames see silence, as speech does
    padded = torch.nn.functional.pad(audio, (left, right))
    window = torch.hann_window(n_fft, device=audio.device, dtype=audio.dtype)
    out = torch.stft(padded, n_fft, hop, n_fft, window, center=False, return_complex=True)
    return torch.sqrt(out.real.square() + out.imag.square() + 1e-9)


def mel_spectrogram(audio: torch.Tensor, spec: AudioSpec) -> torch.Tensor:
    """Normalised log-mel: (…, L) samples -> (…, M, T), T = ceil(L / hop). Differentiable, one definition for all."""
    import torch

    mel = _filterbank(spec).to(audio).transpose(0, 1) @ magnitudes(audio, spec.n_fft, spec.hop)
    return (torch.log(mel.clamp_min(spec.floor)) - spec.mean) / spec.scale


def read_audio(path: str | Path, sample_rate: int) -> np.ndarray:
    """Reads any sound file libsndfile knows as mono float32 (L,) at `sample_rate`, resampling when it must.

    Raises:
        AudioError: missing, unreadable, empty or not finite.
    """
    import soundfile

    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError, RuntimeError) as error:
        raise AudioError(f"{path}: cannot be read as sound ({error}); give a wav, flac, ogg or mp3 file") from None
    mono = samples.mean(axis=1)
    if mono.size == 0:
        raise AudioError(f"{path}: holds no samples")
    if not np.isfinite(mono).all():
        raise AudioError(f"{path}: holds samples that are not numbers; write it again from the source")
    if rate != sample_rate:
        import torch
        import torchaudio

        mono = torchaudio.functional.resample(torch.from_numpy(mono), rate, sample_rate).numpy()
    return np.ascontiguousarray(mono, dtype=np.float32)


def write_audio(path: str | Path, samples: np.ndarray, sample_rate: int) -> None:
    """Writes 16-bit PCM, the format by the file's ending (wav, flac, ogg). Raises AudioError naming the path."""
    import soundfile

    try:
        soundfile.write(
            str(path),
            np.clip(samples, -1.0, 1.0),
            sample_rate,
            subtype=None if str(path).endswith(".ogg") else "PCM_16",
        )
    except (OSError, soundfile.SoundFileError, RuntimeError, ValueError, TypeError) as error:
        raise AudioError(f"{path}: cannot be written ({error})") from None
