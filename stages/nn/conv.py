"""Frame-rate convolution blocks shared by the tokenizer, the diffusion network and the vocoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvNeXtBlock(nn.Module):
    """1-D ConvNeXt block (Liu et al. 2022; Vocos, Siuzdak 2023), optionally modulated by a condition (AdaLN).

    Depthwise convolution along time, layer norm, pointwise expansion, GELU, projection, residual with a learned gain.
    """

    def __init__(self, width: int, expansion: int = 3, kernel: int = 7, dilation: int = 1, condition: int = 0) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(
            width, width, kernel, padding=dilation * (kernel // 2), dilation=dilation, groups=width
        )
        self.norm = nn.LayerNorm(width, elementwise_affine=condition == 0)
        self.modulation = nn.Linear(condition, 2 * width) if condition else None
        self.expand = nn.Linear(width, expansion * width)
        self.project = nn.Linear(expansion * width, width)
        self.gain = nn.Parameter(torch.full((width,), 0.3))
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (B, T, D), condition (B, C) or None -> (B, T, D)."""
        h = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        h = self.norm(h)
        if self.modulation is not None:
            assert condition is not None
            scale, shift = self.modulation(condition).unsqueeze(1).chunk(2, dim=-1)
            h = h * (1 + scale) + shift
        return x + self.gain * self.project(F.gelu(self.expand(h), approximate="tanh"))


class ConvNeXtStack(nn.Module):
    """`depth` ConvNeXt blocks; dilations cycle through `dilations`."""

    def __init__(
        self,
        width: int,
        depth: int,
        expansion: int = 3,
        kernel: int = 7,
        dilations: tuple[int, ...] = (1,),
        condition: int = 0,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(width, expansion, kernel, dilations[i % len(dilations)], condition) for i in range(depth)
        )

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (B, T, D) -> (B, T, D)."""
        for block in self.blocks:
            x = block(x, condition)
        return x


class TimeConv(nn.Module):
    """A plain convolution on (B, T, D) tensors."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        padding = (kernel - stride) // 2 if stride > 1 else kernel // 2
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, inputs) -> (B, T // stride, outputs)."""
        return self.conv(x.transpose(1, 2)).transpose(1, 2)
