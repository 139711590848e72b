"""Optimizer and learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn


def adamw(model: nn.Module, lr: float, betas: tuple[float, float], weight_decay: float) -> torch.optim.AdamW:
    """AdamW; biases, norms, gains and embeddings of one dimension do not decay."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=betas)


def lr_factor(step: int, steps: int, warmup: int, decay_share: float, floor: float) -> float:
    """Warm-up, plateau, then a cosine from 1 to `floor` over the last `decay_share` of the run (1 = plain cosine)."""
    if step < warmup:
        return (step + 1) / warmup
    start = max(warmup, steps * (1 - decay_share))
    progress = min(max((step - start) / max(steps - start, 1), 0.0), 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
