"""Optimizer and learning-rate schedules."""

from __future__ import annotations

import math

import torch
from torch import nn

SCHEDULES = ("cosine", "noam", "constant")


def adamw(model: nn.Module, lr: float, betas: tuple[float, float], weight_decay: float) -> torch.optim.AdamW:
    """AdamW in torch's fused kernel; biases, norms, gains and embeddings of one dimension do not decay."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=betas, fused=True)


def lr_factor(step: int, steps: int, warmup: int, decay_share: float, floor: float, schedule: str = "cosine") -> float:
    """What the peak learning rate is multiplied with at a step; every schedule warms up linearly to 1.

    Args:
        schedule: `cosine` holds, then falls from 1 to `floor` over the last `decay_share` of the run (1 = plain
            cosine); `noam` falls with the inverse square root of the step (Vaswani et al. 2017, eq. 3, scaled to a
            peak of 1), to `floor` at least; `constant` holds.
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "noam":
        return max(floor, math.sqrt(max(warmup, 1) / (step + 1)))
    if schedule == "constant":
        return 1.0
    start = max(warmup, steps * (1 - decay_share))
    progress = min(max((step - start) / max(steps - start, 1), 0.0), 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Every parameter that an optimizer moves, in its order."""
    return [p for group in optimizer.param_groups for p in group["params"]]
