"""Exponential moving average of weights (the exported ones)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightAverage:
    """average <- decay * average + (1 - decay) * weight, with the decay warmed up as (1 + n) / (10 + n)."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.average = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes the model's weights into the average."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def swap(self, model: nn.Module) -> None:
        """Exchanges the model's weights with the average; call it twice to undo."""
        current: dict[str, Tensor] = {k: v.detach().clone() for k, v in model.state_dict().items()}
        model.load_state_dict(self.average)
        self.average = current
