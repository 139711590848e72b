"""The frame-rate generator: harmonic and noise sources, filters from a ConvNeXt stack, joined by an inverse STFT.

HiFi-GAN's family on a budget: as in HiFTNet (Li et al. 2023) a sine-like source spares the network the phase, as in the
neural homomorphic vocoder (Liu et al. 2020) the harmonic filter is minimum-phase from its log-magnitude, as in Vocos
(Siuzdak 2023) every heavy layer runs at frame rate. The filters start from the mel itself, so the untrained network
already has the envelope.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.core.audio import AudioSpec
from stages.nn.conv import ConvNeXtStack, TimeConv


@dataclass(frozen=True)
class SourceFilterConfig:
    """Hyper-parameters of the generator."""

    width: int = 256
    depth: int = 6
    window: int = 512
    """samples of the synthesis STFT; its hop is a quarter"""
    pitch_width: int = 96
    pitch_bins: int = 96
    pitch_min: float = 60.0
    pitch_max: float = 400.0
    """Hz"""


class PitchPredictor(nn.Module):
    """Mel -> a distribution over log-spaced pitch bins; the pitch is the mean of log Hz about the best bin."""

    centres: Tensor

    def __init__(self, config: SourceFilterConfig, n_mels: int) -> None:
        super().__init__()
        self.inputs = TimeConv(n_mels, config.pitch_width, 5)
        self.stack = ConvNeXtStack(config.pitch_width, 3, expansion=2)
        self.outputs = nn.Linear(config.pitch_width, config.pitch_bins)
        centres = torch.linspace(math.log(config.pitch_min), math.log(config.pitch_max), config.pitch_bins)
        self.register_buffer("centres", centres, persistent=False)

    def forward(self, mel: Tensor) -> Tensor:
        """mel (B, T, M) -> logits (B, T, bins)."""
        return self.outputs(self.stack(self.inputs(mel)))

    def log_pitch(self, logits: Tensor) -> Tensor:
        """logits (B, T, bins) -> log Hz (B, T)."""
        near = (torch.arange(logits.shape[-1], device=logits.device) - logits.argmax(-1, keepdim=True)).abs() <= 2
        weight = logits.masked_fill(~near, -torch.inf).softmax(-1)
        return (weight * self.centres).sum(-1)

    def loss(self, logits: Tensor, pitch: Tensor) -> Tensor:
        """Cross-entropy against a two-bin soft label where `pitch` (B, T) Hz is known (above 0)."""
        known = pitch > 0
        place = (pitch.clamp_min(1.0).log() - self.centres[0]) / (self.centres[1] - self.centres[0])
        place = place.clamp(0, len(self.centres) - 1.001)
        low = place.floor().long()
        part = place - low
        log_p = logits.log_softmax(-1)
        nll = -(1 - part) * log_p.gather(-1, low.unsqueeze(-1)).squeeze(-1) - part * log_p.gather(
            -1, (low + 1).unsqueeze(-1)
        ).squeeze(-1)
        return (nll * known).sum() / known.sum().clamp_min(1)


def pulse_train(log_pitch: Tensor, hop: int, sample_rate: int) -> Tensor:
    """A band-limited pulse train with the pitch interpolated to samples: log Hz (B, T) -> (B, T * hop).

    The sum of all harmonics below Nyquist in closed form (Dirichlet kernel): sum_k cos(k phi), k = 1..K.
    """
    t = log_pitch.shape[1]
    pitch = F.interpolate(log_pitch.unsqueeze(1), size=t * hop, mode="linear", align_corners=False).squeeze(1).exp()
    # float64: the phase of a long utterance would lose its fraction in float32
    phase = torch.cumsum(pitch.double() * (2 * math.pi / sample_rate), dim=1).remainder(2 * math.pi)
    count = torch.floor(0.5 * sample_rate / pitch).double()
    sine = torch.sin(phase / 2)
    close = sine.abs() < 1e-6
    kernel = torch.sin((count + 0.5) * phase) / (2 * torch.where(close, 1.0, sine)) - 0.5
    return (torch.where(close, count, kernel) / torch.sqrt(count)).float()


def minimum_phase(log_magnitude: Tensor) -> Tensor:
    """Phase (…, F) of the minimum-phase filter with this natural-log magnitude (…, F), by folding its real cepstrum."""
    bins = log_magnitude.shape[-1]
    cepstrum = torch.fft.irfft(log_magnitude, n=2 * (bins - 1))
    fold = torch.zeros(2 * (bins - 1), device=log_magnitude.device)
    fold[0] = fold[bins - 1] = 1.0
    fold[1 : bins - 1] = 2.0
    return torch.fft.rfft(cepstrum * fold).imag


def mel_interpolation(spec: AudioSpec, bins: int) -> np.ndarray:
    """(M, bins) weights that read a log-mel envelope at `bins` equally spaced frequencies from 0 to Nyquist."""
    import librosa

    centres = librosa.mel_frequencies(n_mels=spec.n_mels + 2, fmin=spec.fmin, fmax=spec.fmax)[1:-1]
    frequency = np.linspace(0, spec.sample_rate / 2, bins)
    return np.stack([np.interp(frequency, centres, row) for row in np.eye(spec.n_mels)]).astype(np.float32)


class SourceFilterGenerator(nn.Module):
    """Mel -> waveform. Noise is passed in, so that the caller owns every random draw."""

    envelope: Tensor
    window: Tensor

    def __init__(self, config: SourceFilterConfig, spec: AudioSpec) -> None:
        super().__init__()
        if spec.hop % (config.window // 4):
            raise ValueError(f"a quarter of the synthesis window ({config.window}) must divide the hop ({spec.hop})")
        self.spec, self.size, self.hop = spec, config.window, config.window // 4
        self.parts, self.bins = spec.hop // self.hop, config.window // 2 + 1
        self.pitch = PitchPredictor(config, spec.n_mels)
        self.inputs = TimeConv(spec.n_mels, config.width, 7)
        self.stack = ConvNeXtStack(config.width, config.depth)
        self.norm = nn.LayerNorm(config.width)
        self.filters = nn.Linear(config.width, self.parts * self.bins * 2)
        nn.init.normal_(self.filters.weight, std=1e-3)
        with torch.no_grad():
            self.filters.bias.view(self.parts, 2, self.bins)[:, 0] = 1.0
            self.filters.bias.view(self.parts, 2, self.bins)[:, 1] = 0.5
        self.register_buffer("envelope", torch.from_numpy(mel_interpolation(spec, self.bins)), persistent=False)
        self.register_buffer("window", torch.hann_window(config.window), persistent=False)

    def forward(self, mel: Tensor, noise: Tensor, log_pitch: Tensor) -> Tensor:
        """mel (B, T, M), noise (B, T * hop) standard normal, log_pitch (B, T) log Hz -> waveform (B, T * hop)."""
        b, t, _ = mel.shape
        base = (mel * self.spec.scale + self.spec.mean) @ self.envelope
        change = self.filters(self.norm(self.stack(self.inputs(mel)))).view(b, t, self.parts, 2, self.bins)
        # a spectrum has no half precision
        log_gain = (base.view(b, t, 1, 1, self.bins) + change).flatten(1, 2).clamp(-16.0, 8.0).float()
        log_gain = torch.cat((log_gain, log_gain[:, -1:]), dim=1).permute(2, 0, 3, 1)  # (2, B, bins, T * parts + 1)
        phase = minimum_phase(log_gain[0].transpose(1, 2)).transpose(1, 2)
        pulses = self._stft(pulse_train(log_pitch, self.spec.hop, self.spec.sample_rate))
        spectrum = pulses * torch.polar(log_gain[0].exp(), phase) + self._stft(noise) * log_gain[1].exp()
        return torch.istft(spectrum, self.size, self.hop, self.size, self.window, length=t * self.spec.hop)

    def _stft(self, signal: Tensor) -> Tensor:
        return torch.stft(signal, self.size, self.hop, self.size, self.window, pad_mode="constant", return_complex=True)
