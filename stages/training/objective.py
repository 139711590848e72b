"""What a model brings to the trainer."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from stages.training.adversarial import AdversarialLoss


class Objective(Protocol):
    """A model, its batches and its losses by name. Everything a step draws comes from the step's number.

    `model` is what is optimised and exported. `losses` returns weighted terms whose sum is minimised; terms whose name
    starts with `_` are only logged.
    """

    stage: str
    model: nn.Module
    config: Any
    """the model's hyper-parameters, written as config.yaml"""

    def batch(self, step: int) -> dict[str, Any]: ...

    def losses(self, batch: dict[str, Any], generator: torch.Generator, step: int) -> dict[str, Tensor]: ...

    def validate(self) -> dict[str, float]: ...

    def meta(self) -> dict[str, Any]: ...

    def adversary(self) -> AdversarialLoss | None:
        """The part with an optimizer of its own (a GAN's discriminators), saved for resuming and never exported."""
        ...
