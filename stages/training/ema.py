"""Exponential moving average of weights (the exported ones)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightAverage:
    """average <- decay * average + (1 - decay) * weight, with the decay warmed up as (1 + n) / (10 + n).

    The model's tensors are looked up once: they must stay the same objects (loading a state dict keeps them).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self._weights = model.state_dict()
        self._floats = [k for k, v in self._weights.items() if v.is_floating_point()]
        self._others = [k for k, v in self._weights.items() if not v.is_floating_point()]
        self.average = {k: v.detach().clone() for k, v in self._weights.items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes the model's weights into the average."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        average, weights = self.average, self._weights
        torch._foreach_lerp_([average[k] for k in self._floats], [weights[k] for k in self._floats], 1 - decay)
        for name in self._others:
            average[name].copy_(weights[name])

    @torch.no_grad()
    def restore(self, average: dict[str, Tensor], updates: int) -> None:
        """Goes on from a saved average. Raises KeyError for a name that is missing."""
        for name, value in self.average.items():
            value.copy_(average[name])
        self.updates = updates

    def swap(self, model: nn.Module) -> None:
        """Exchanges the model's weights with the average; call it twice to undo."""
        current: dict[str, Tensor] = {k: v.detach().clone() for k, v in model.state_dict().items()}
        model.load_state_dict(self.average)
        self.average = current
