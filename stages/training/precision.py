"""Mixed precision: autocast, and for float16 the scaling of the loss (Micikevicius et al. 2018)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stages.core.config import ConfigError, near_miss

KINDS: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Precision:
    """What a model computes in; weights, gradients, moments and the average stay float32.

    Raises:
        ConfigError: a kind that is not in KINDS.
    """

    def __init__(self, kind: str, device: str) -> None:
        if kind not in KINDS:
            raise ConfigError(f"trainer.precision: unknown precision {kind!r}{near_miss(kind, KINDS)}")
        self.dtype, self.device = KINDS[kind], torch.device(device).type

    @property
    def scaled(self) -> bool:
        """Whether losses are scaled, so that a step may be skipped."""
        return self.dtype is torch.float16

    def autocast(self, enabled: bool = True) -> torch.autocast:
        """The context in which losses are computed."""
        return torch.autocast(self.device, self.dtype or torch.bfloat16, enabled=enabled and self.dtype is not None)

    def scaler(self) -> Scaler:
        """Loss scaling of one optimizer."""
        return Scaler(self)


class Scaler:
    """Backward, and a step that float16's overflows skip: then the scale halves, and later grows again."""

    def __init__(self, precision: Precision) -> None:
        self._scaler = torch.amp.GradScaler(precision.device, enabled=precision.scaled)
        self.enabled = precision.scaled

    def backward(self, loss: Tensor, inputs: list[nn.Parameter] | None = None, retain_graph: bool = False) -> None:
        """Adds the gradients of a loss, scaled, to all that it was computed from, or to `inputs` alone."""
        self._scaler.scale(loss).backward(inputs=inputs, retain_graph=retain_graph)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Takes the scale out of the gradients, so that they can be clipped."""
        if self.enabled:
            self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer, finite: bool) -> bool:
        """Moves the weights unless the gradients overflowed; whether it did. Call it after `unscale`."""
        if finite or not self.enabled:
            optimizer.step()
        if self.enabled:
            self._scaler.update()
        return finite or not self.enabled

    def state(self) -> dict[str, Any]:
        """Scale and counters as JSON values; empty when nothing is scaled."""
        return self._scaler.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from `state`; without one it starts afresh."""
        if self.enabled and state:
            self._scaler.load_state_dict(state)
