"""Losses of VITS that are its own, and cutting out what they look at."""

from __future__ import annotations

import torch
from torch import Tensor


def kl_divergence(z: Tensor, log_std: Tensor, prior_mean: Tensor, prior_log_std: Tensor, mask: Tensor) -> Tensor:
    """Nats per frame between posterior and prior (VITS, equation 3): z is the posterior's draw through the flow.

    All (B, C, T) but mask (B, 1, T).
    """
    nats = prior_log_std - log_std - 0.5 + 0.5 * (z - prior_mean).square() * (-2 * prior_log_std).exp()
    return (nats * mask).sum() / mask.sum()


def cut(x: Tensor, start: Tensor, length: int) -> Tensor:
    """x (B, C, T) from start (B,) on -> (B, C, length)."""
    at = start.view(-1, 1, 1) + torch.arange(length, device=x.device)
    return x.gather(2, at.expand(-1, x.shape[1], -1))
