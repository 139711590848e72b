"""Several adversaries of one objective, each with discriminators and an optimizer of its own."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from stages.training.adversarial import AdversarialLoss
from stages.training.distributed import World
from stages.training.precision import Precision


class Adversaries(nn.Module):
    """Shows the trainer several adversarial losses as one; the objective calls each by itself.

    One that has learnt nothing in a step, because it sets in later, stays as it is. Gradients are clipped by adversary.

    Args:
        losses: by name; the first judges sound, and the memory told before a training is its.
    """

    def __init__(self, **losses: AdversarialLoss) -> None:
        super().__init__()
        if not losses:
            raise ValueError("no adversary is named; an objective without one gives None")
        self.losses = nn.ModuleDict(losses)

    def _each(self) -> list[tuple[str, AdversarialLoss]]:
        return [(name, loss) for name, loss in self.losses.items() if isinstance(loss, AdversarialLoss)]

    def __getitem__(self, name: str) -> AdversarialLoss:
        return dict(self._each())[name]

    @property
    def discriminators(self) -> nn.Module:
        """Those of sound, beside which the others take little memory."""
        return self._each()[0][1].discriminators

    @property
    def share(self) -> float:
        """Weight of the micro-batch in its step, set by the trainer."""
        return self._each()[0][1].share

    @share.setter
    def share(self, share: float) -> None:
        for _, loss in self._each():
            loss.share = share

    def use(self, precision: Precision) -> None:
        """All compute in this precision from now on."""
        for _, loss in self._each():
            loss.use(precision)

    def gradient_norm(self, world: World) -> Tensor | None:
        """Sums and clips what each has learnt; the norm of all together, None when nothing was learnt."""
        norms = [norm for _, loss in self._each() if (norm := loss.gradient_norm(world)) is not None]
        return torch.linalg.vector_norm(torch.stack(norms)) if norms else None

    def step(self, finite: bool) -> None:
        """Moves those that have learnt something."""
        for _, loss in self._each():
            loss.step(finite)

    def saved(self) -> dict[str, Tensor]:
        """What a resume needs, as named tensors."""
        return {k: v for name, loss in self._each() for k, v in loss.saved(f"adversary_{name}").items()}

    def scales(self) -> dict[str, Any]:
        """Loss scales as JSON values."""
        return {name: loss.scales() for name, loss in self._each()}

    def restore(self, state: dict[str, Tensor], scales: dict[str, Any]) -> None:
        """The inverse of `saved` and `scales`."""
        for name, loss in self._each():
            loss.restore(state, scales.get(name, {}), f"adversary_{name}")


Adversary: TypeAlias = AdversarialLoss | Adversaries
"""what an objective gives the trainer"""
