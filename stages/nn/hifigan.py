"""The HiFi-GAN generator (Kong et al. 2020), V1, V2 and V3 by config: transposed convolutions at growing rates."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.1


@dataclass(frozen=True)
class HifiGanConfig:
    """Hyper-parameters; the defaults are V1. V2: channels 128.

    V3: block 2, rates (8, 8, 4), kernels (16, 16, 8), channels 256.
    """

    channels: int = 512
    rates: tuple[int, ...] = (8, 8, 2, 2)
    kernels: tuple[int, ...] = (16, 16, 4, 4)
    block: int = 1
    block_kernels: tuple[int, ...] = (3, 7, 11)
    block_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))

    def __post_init__(self) -> None:
        if len(self.rates) != len(self.kernels) or len(self.block_kernels) != len(self.block_dilations):
            raise ValueError("rates and kernels, block_kernels and block_dilations must have as many entries")
        pairs = zip(self.rates, self.kernels, strict=True)
        if any(rate < 1 or kernel < rate or (kernel - rate) % 2 for rate, kernel in pairs):
            raise ValueError(f"kernels are {self.kernels}; each must be its rate {self.rates}, or an even number more")
        if any(kernel % 2 == 0 for kernel in self.block_kernels):
            raise ValueError(f"block_kernels are {self.block_kernels}; give odd numbers, so that samples stay in place")
        if self.block not in (1, 2):
            raise ValueError(f"block is {self.block}; give 1 (pairs of convolutions) or 2 (single ones)")
        if self.channels < 2 ** len(self.rates):
            raise ValueError(f"channels is {self.channels}, which {len(self.rates)} rates halve to nothing; give more")


def _conv(channels: int, kernel: int, dilation: int) -> nn.Module:
    return weight_norm(nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=(kernel - 1) * dilation // 2))


class ResidualBlock(nn.Module):
    """ResBlock1 (pairs of convolutions, the second undilated) or ResBlock2 (single convolutions)."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], paired: bool) -> None:
        super().__init__()
        self.first = nn.ModuleList(_conv(channels, kernel, d) for d in dilations)
        self.second = nn.ModuleList(_conv(channels, kernel, 1) for _ in dilations) if paired else None

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, L) -> (B, C, L)."""
        for i, conv in enumerate(self.first):
            h = conv(F.leaky_relu(x, SLOPE))
            if self.second is not None:  # what a convolution gives is nobody else's: changed in place
                h = self.second[i](F.leaky_relu(h, SLOPE, inplace=True))
            x = h.add_(x)
        return x


class HifiGanGenerator(nn.Module):
    """Frames (mel, or the latents of VITS) -> waveform; the product of the upsampling rates is the hop.

    Args:
        inputs: channels of a frame.
        condition: width of the speaker's vector, added to the first convolution (VITS); 0 = none.
    """

    def __init__(self, config: HifiGanConfig, inputs: int, hop: int, condition: int = 0) -> None:
        super().__init__()
        if math.prod(config.rates) != hop:
            raise ValueError(
                f"the upsampling rates {config.rates} multiply to {math.prod(config.rates)}, but the hop is {hop}"
            )
        self.inputs = weight_norm(nn.Conv1d(inputs, config.channels, 7, padding=3))
        self.condition = nn.Conv1d(condition, config.channels, 1) if condition else None
        self.ups, self.blocks = nn.ModuleList(), nn.ModuleList()
        width = config.channels
        for rate, kernel in zip(config.rates, config.kernels, strict=True):
            self.ups.append(
                weight_norm(nn.ConvTranspose1d(width, width // 2, kernel, rate, padding=(kernel - rate) // 2))
            )
            width //= 2
            self.blocks.append(
                nn.ModuleList(
                    ResidualBlock(width, k, d, config.block == 1)
                    for k, d in zip(config.block_kernels, config.block_dilations, strict=True)
                )
            )
        self.outputs = weight_norm(nn.Conv1d(width, 1, 7, padding=3))

    def forward(self, frames: Tensor, condition: Tensor | None = None) -> Tensor:
        """frames (B, M, T), condition (B, G, 1) -> waveform (B, T * hop) in [-1, 1]."""
        x = self.inputs(frames)
        if self.condition is not None and condition is not None:
            x = x + self.condition(condition)
        for up, blocks in zip(self.ups, self.blocks, strict=True):
            x = up(F.leaky_relu(x, SLOPE))
            parts = [block(x) for block in cast(nn.ModuleList, blocks)]
            x = functools.reduce(torch.Tensor.add_, parts).div_(len(parts))  # a stack of them would be a copy of each
        return torch.tanh(self.outputs(F.leaky_relu(x))).squeeze(1)

    def fold_weight_norm(self) -> None:
        """Makes the normalised weights plain parameters, for inference; the output stays the same."""
        for module in list(self.modules()):
            if parametrize.is_parametrized(module):
                parametrize.remove_parametrizations(module, "weight")
