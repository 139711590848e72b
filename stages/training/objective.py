"""What a model brings to the trainer."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from stages.training.adversaries import Adversary
from stages.training.record import Sample


class Objective(Protocol):
    """A model, its batches and its losses by name. Everything a step draws comes from the step's number.

    `model` is what is optimised and exported. `losses` returns weighted terms whose sum is minimised; terms whose name
    starts with `_` are only logged.
    """

    stage: str
    model: nn.Module
    config: Any
    """the model's hyper-parameters, written as config.yaml"""

    def batch(self, step: int) -> dict[str, Any]:
        """The tensors of micro-batch number `step`, built in a thread of its own, and three entries of another kind.

        `ids`: the items' names, for messages. `targets` (int): over how many values the losses are means; the
        micro-batches of a step weigh so much (without it they weigh the same). `padding`: share of the positions that
        hold nothing.
        """
        ...

    def losses(self, batch: dict[str, Any], generator: torch.Generator, step: int) -> dict[str, Tensor]: ...

    def validate(self) -> dict[str, float]: ...

    def meta(self) -> dict[str, Any]: ...

    def adversary(self) -> Adversary | None:
        """The parts with optimizers of their own (a GAN's discriminators), saved for resuming and never exported."""
        ...


class Judged(Protocol):
    """An objective with an adversary: it says how much of a batch the discriminators get, to tell their memory."""

    def judged(self) -> tuple[int, int]:
        """Sounds and frames of each that the discriminators get at once, at most."""
        ...


class Sampling(Protocol):
    """An objective that also shows what the model makes of held-out utterances."""

    def samples(self, generator: torch.Generator) -> dict[str, Sample]:
        """Pictures, sounds and figures by name, logged at every validation; the averaged weights are in the model.

        A figure named `loops` is the share of sampled utterances that are stuck; `stages.training.signs` watches it.
        """
        ...
