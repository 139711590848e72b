"""Finite scalar quantization (Mentzer et al. 2023): a dimension is rounded to a few levels; no codebook to collapse."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FiniteScalarQuantizer(nn.Module):
    """Rounds each of len(levels) bounded dimensions to its levels, straight-through; a code is a mixed-radix number."""

    levels: Tensor
    radix: Tensor

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.size = 1
        radix = []
        for n in levels:
            radix.append(self.size)
            self.size *= n
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("radix", torch.tensor(radix), persistent=False)

    def bound(self, z: Tensor) -> Tensor:
        """Squashes (…, d) so that rounding gives `levels` values, about 0 (odd) or -1/2 (even counts) (eq. 1-2)."""
        half = (self.levels - 1) * (1 + 1e-3) / 2
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)
        shift = torch.atanh(offset / half)
        return torch.tanh(z + shift) * half - offset

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z (…, d) -> quantized values in [-1, 1] (…, d) with straight-through gradient, codes (…,) int64."""
        bounded = self.bound(z)
        rounded = bounded + (bounded.round() - bounded).detach()
        half = torch.div(self.levels, 2, rounding_mode="floor")
        digits = (rounded.detach() + half).round().long()
        return rounded / half, (digits * self.radix).sum(-1)

    def decode(self, codes: Tensor) -> Tensor:
        """codes (…,) int64 -> the quantized values that made them (…, d)."""
        digits = torch.div(codes.unsqueeze(-1), self.radix, rounding_mode="floor") % self.levels
        half = torch.div(self.levels, 2, rounding_mode="floor")
        return (digits - half).float() / half
