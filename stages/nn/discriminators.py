"""Discriminators of waveforms: multi-period, multi-scale (HiFi-GAN), multi-resolution spectrogram (UnivNet, 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from stages.core.config import least

SLOPE = 0.1
Judgement = tuple[Tensor, list[Tensor]]
"""Scores and the feature maps of every layer."""


HIFIGAN, VITS = "hifigan", "vits"
SCALE_KINDS = (HIFIGAN, VITS)


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Which discriminators and how wide. The papers' widths are period_width 32, scale_width 128, spectrum_width 32."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_width: int = 32
    scales: int = 3
    """one hears the waveform, each further one half the rate of the one before"""
    scale_width: int = 128
    """the widest layer has 8 times as many channels"""
    spectra: tuple[tuple[int, int], ...] = ((1024, 256), (512, 128), (2048, 512))
    """(n_fft, hop) of each spectrogram discriminator"""
    spectrum_width: int = 32
    scale_kind: str = HIFIGAN
    """hifigan (eight layers; the first scale has spectral normalisation) or vits (MelGAN's seven, narrow at first)"""

    def __post_init__(self) -> None:
        if self.scale_kind not in SCALE_KINDS:
            raise ValueError(f"unknown scale_kind {self.scale_kind!r}; known: {', '.join(SCALE_KINDS)}")
        if not (self.periods or self.scales or self.spectra):
            raise ValueError("no discriminator is named; give periods, scales or spectra")
        if min(self.periods, default=1) < 1 or self.scales < 0:
            raise ValueError(f"periods are 1 or more and scales 0 or more, not {self.periods} and {self.scales}")
        least(self, 1, "period_width", "spectrum_width")
        groups = 16 if self.scale_kind == HIFIGAN else 8
        if self.scales and self.scale_width % groups:
            raise ValueError(f"scale_width is {self.scale_width}; give a multiple of {groups}, its groups of channels")

    @property
    def shortest(self) -> int:
        """Samples that a signal must have: a row of the largest period, half a window and one more."""
        return max((*self.periods, *(n_fft // 2 + 1 for n_fft, _ in self.spectra), 1))


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

    def __init__(self, factor: int, width: int, kind: str = HIFIGAN) -> None:
        super().__init__()
        self.factor = factor
        norm = spectral_norm if kind == HIFIGAN and factor == 1 else weight_norm
        layers = _hifigan_layers(width) if kind == HIFIGAN else _vits_layers(width)
        self.stack = _Stack([norm(layer) for layer in layers])

    def forward(self, audio: Tensor) -> Judgement:
        """audio (B, L) -> scores, features."""
        x = audio.unsqueeze(1)
        return self.stack(F.avg_pool1d(x, 2 * self.factor, self.factor, self.factor) if self.factor > 1 else x)


def _hifigan_layers(w: int) -> list[nn.Module]:
    """The layers of HiFi-GAN's scale discriminators (Kong et al. 2020); the paper's w is 128."""
    return [
        nn.Conv1d(1, w, 15, 1, 7),
        nn.Conv1d(w, w, 41, 2, 20, groups=4),
        nn.Conv1d(w, 2 * w, 41, 2, 20, groups=16),
        nn.Conv1d(2 * w, 4 * w, 41, 4, 20, groups=16),
        nn.Conv1d(4 * w, 8 * w, 41, 4, 20, groups=16),
        nn.Conv1d(8 * w, 8 * w, 41, 1, 20, groups=16),
        nn.Conv1d(8 * w, 8 * w, 5, 1, 2),
        nn.Conv1d(8 * w, 1, 3, 1, 1),
    ]


def _vits_layers(w: int) -> list[nn.Module]:
    """Those of VITS's, which are MelGAN's (Kumar et al. 2019): four channels a group, each layer a fourth as long."""
    widths = [w // 8, w // 2, 2 * w, 8 * w, 8 * w]
    strided = [nn.Conv1d(a, b, 41, 4, 20, groups=max(1, a // 4)) for a, b in zip(widths, widths[1:], strict=False)]
    return [nn.Conv1d(1, w // 8, 15, 1, 7), *strided, nn.Conv1d(8 * w, 8 * w, 5, 1, 2), nn.Conv1d(8 * w, 1, 3, 1, 1)]


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
        self.shortest = config.shortest
        judges: list[nn.Module] = [PeriodDiscriminator(p, config.period_width) for p in config.periods]
        judges += [ScaleDiscriminator(2**i, config.scale_width, config.scale_kind) for i in range(config.scales)]
        judges += [SpectrumDiscriminator(n, h, config.spectrum_width) for n, h in config.spectra]
        self.judges = nn.ModuleList(judges)

    def forward(self, audio: Tensor) -> list[Judgement]:
        """audio (B, L) -> one judgement per discriminator. Raises ValueError for a signal that is too short."""
        if audio.shape[1] < self.shortest:
            raise ValueError(
                f"the discriminators were given {audio.shape[1]} samples and need {self.shortest}; make the segment "
                "longer, or the largest of objective.discriminators.periods and spectra smaller"
            )
        return [judge(audio) for judge in self.judges]
