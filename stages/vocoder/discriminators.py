"""The vocoder's discriminators: multi-period, multi-scale (HiFi-GAN), multi-resolution spectrogram (UnivNet, 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

SLOPE = 0.1
Judgement = tuple[Tensor, list[Tensor]]
"""Scores and the feature maps of every layer."""


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Which discriminators and how wide. The papers' widths are period_width 32, scale_width 128, spectrum_width 32."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_width: int = 32
    scales: int = 3
    scale_width: int = 128
    spectra: tuple[tuple[int, int], ...] = ((1024, 256), (512, 128), (2048, 512))
    """(n_fft, hop) of each spectrogram discriminator"""
    spectrum_width: int = 32


class _Stack(nn.Module):
    """Convolutions that keep every feature map."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Judgement:
        features = []
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return self.layers[-1](x).flatten(1), features


class PeriodDiscriminator(nn.Module):
    """Looks at every `period`-th sample as one column of a picture."""

    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, width, 4 * width, 16 * width, 32 * width]
        layers: list[nn.Module] = [
            weight_norm(nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0))) for a, b in zip(widths, widths[1:], strict=False)
        ]
        layers += [
            weight_norm(nn.Conv2d(widths[-1], widths[-1], (5, 1), 1, (2, 0))),
            weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), 1, (1, 0))),
        ]
        self.stack = _Stack(layers)

    def forward(self, audio: Tensor) -> Judgement:
        """audio (B, L) -> scores, features."""
        short = -audio.shape[1] % self.period
        audio = F.pad(audio, (0, short), mode="reflect") if short else audio
        return self.stack(audio.view(audio.shape[0], 1, -1, self.period))


class ScaleDiscriminator(nn.Module):
    """Strided grouped convolutions on the waveform averaged down by `factor`."""

    def __init__(self, factor: int, width: int, spectral: bool) -> None:
        super().__init__()
        self.factor = factor
        norm = spectral_norm if spectral else weight_norm
        w = width
        self.stack = _Stack(
            [
                norm(nn.Conv1d(1, w, 15, 1, 7)),
                norm(nn.Conv1d(w, w, 41, 2, 20, groups=4)),
                norm(nn.Conv1d(w, 2 * w, 41, 2, 20, groups=16)),
                norm(nn.Conv1d(2 * w, 4 * w, 41, 4, 20, groups=16)),
                norm(nn.Conv1d(4 * w, 8 * w, 41, 4, 20, groups=16)),
                norm(nn.Conv1d(8 * w, 8 * w, 5, 1, 2)),
                norm(nn.Conv1d(8 * w, 1, 3, 1, 1)),
            ]
        )

    def forward(self, audio: Tensor) -> Judgement:
        """audio (B, L) -> scores, features."""
        x = audio.unsqueeze(1)
        return self.stack(F.avg_pool1d(x, 2 * self.factor, self.factor, self.factor) if self.factor > 1 else x)


class SpectrumDiscriminator(nn.Module):
    """2-D convolutions on a log-magnitude spectrogram."""

    def __init__(self, n_fft: int, hop: int, width: int) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        w = width
        self.stack = _Stack(
            [
                weight_norm(nn.Conv2d(1, w, (9, 3), padding=(4, 1))),
                weight_norm(nn.Conv2d(w, w, (9, 3), (2, 1), (4, 1))),
                weight_norm(nn.Conv2d(w, w, (9, 3), (2, 1), (4, 1))),
                weight_norm(nn.Conv2d(w, w, (9, 3), (2, 2), (4, 1))),
                weight_norm(nn.Conv2d(w, w, 3, padding=1)),
                weight_norm(nn.Conv2d(w, 1, 3, padding=1)),
            ]
        )

    def forward(self, audio: Tensor) -> Judgement:
        """audio (B, L) -> scores, features."""
        window = torch.hann_window(self.n_fft, device=audio.device)
        spectrum = torch.stft(audio, self.n_fft, self.hop, self.n_fft, window, return_complex=True)
        magnitude = torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-6)
        return self.stack(torch.log(magnitude + 1e-3).unsqueeze(1))


class Discriminators(nn.Module):
    """All of them, judged together."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        judges: list[nn.Module] = [PeriodDiscriminator(p, config.period_width) for p in config.periods]
        judges += [ScaleDiscriminator(2**i, config.scale_width, spectral=i == 0) for i in range(config.scales)]
        judges += [SpectrumDiscriminator(n, h, config.spectrum_width) for n, h in config.spectra]
        self.judges = nn.ModuleList(judges)

    def forward(self, audio: Tensor) -> list[Judgement]:
        """audio (B, L) -> one judgement per discriminator."""
        return [judge(audio) for judge in self.judges]
