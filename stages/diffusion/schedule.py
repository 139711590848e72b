"""The probability path of flow matching (Lipman et al. 2022, optimal-transport form) and the time grid of the sampler.

Time runs as noise level: sigma = 1 is noise, sigma = 0 is data (diffusers' convention).
x_sigma = (1 - sigma) * data + sigma * noise, and the velocity d x / d sigma = noise - data is what the network
predicts.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def interpolate(data: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """x_sigma for data, noise (B, T, M) and sigma (B,)."""
    level = sigma.view(-1, 1, 1)
    return (1 - level) * data + level * noise


def velocity(data: Tensor, noise: Tensor) -> Tensor:
    """The target (B, T, M): noise - data."""
    return noise - data


def time_grid(steps: int, sway: float = -1.0) -> Tensor:
    """(steps + 1,) noise levels from 1 to 0; `sway` < 0 spends more steps near the noise (F5-TTS, Chen et al. 2024)."""
    u = torch.linspace(0, 1, steps + 1)
    t = u + sway * (torch.cos(math.pi / 2 * u) - 1 + u)
    grid = 1 - t
    grid[0], grid[-1] = 1.0, 0.0
    return grid
