"""The posterior encoder: a spectrogram to the distribution of the latents behind it (VITS, section 2.1.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.core.config import least
from stages.vits.blocks import WaveNet, keep_length

INPUTS = ("linear", "mel")


@dataclass(frozen=True)
class PosteriorConfig:
    """Hyper-parameters of the posterior encoder."""

    input: str = "linear"
    """linear (magnitudes, VITS) or mel (the AudioSpec's log-mel, an option of VITS2's)"""
    width: int = 192
    layers: int = 16
    kernel: int = 5
    dilation_rate: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.input not in INPUTS:
            raise ValueError(f"unknown posterior input {self.input!r}; known: {', '.join(INPUTS)}")
        least(self, 1, "width", "layers", "dilation_rate")
        keep_length(self.kernel)


class PosteriorEncoder(nn.Module):
    """Spectrogram -> mean and log standard deviation of each frame's latents."""

    def __init__(self, config: PosteriorConfig, bins: int, channels: int, condition: int) -> None:
        super().__init__()
        self.inputs = nn.Conv1d(bins, config.width, 1)
        self.wavenet = WaveNet(
            config.width, config.kernel, config.dilation_rate, config.layers, condition, config.dropout
        )
        self.statistics = nn.Conv1d(config.width, 2 * channels, 1)

    def forward(self, spectrogram: Tensor, mask: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """spectrogram (B, F, T), mask (B, 1, T) -> mean and log_std, (B, C, T) each."""
        h = self.wavenet(self.inputs(spectrogram) * mask, mask, condition)
        mean, log_std = (self.statistics(h) * mask).chunk(2, dim=1)
        return mean, log_std


def sampled(mean: Tensor, log_std: Tensor, mask: Tensor, generator: torch.Generator, scale: float = 1.0) -> Tensor:
    """A draw from normal distributions (B, C, T), standard deviations times `scale`; `generator` is on the CPU."""
    noise = torch.randn(mean.shape, generator=generator).to(mean)
    return (mean + scale * noise * log_std.exp()) * mask
