"""The adversarial loss: it owns the discriminators and their optimizer, so that the trainer knows nothing of GANs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.training.distributed import World
from stages.training.optim import adamw
from stages.training.precision import Precision

CLIP = 10.0


class AdversarialLoss(nn.Module):
    """Least-squares GAN (Mao et al. 2017) with feature matching (Kumar et al. 2019).

    Discriminators learn from every micro-batch of a step and move once, with the generator, so that a step is the same
    however it is cut into micro-batches and processes.

    Args:
        discriminators: maps a signal (B, L) to a list of (scores, feature maps).
    """

    def __init__(self, discriminators: nn.Module, lr: float, betas: tuple[float, float] = (0.8, 0.99)) -> None:
        super().__init__()
        self.discriminators = discriminators
        self.optimizer = adamw(discriminators, lr, betas, 0.01)
        self.precision = Precision("float32", "cpu")
        self.scaler = self.precision.scaler()
        self.share = 1.0
        """weight of the micro-batch in its step, set by the trainer"""
        self._learnt = False

    def use(self, precision: Precision) -> None:
        """Computes in this precision from now on."""
        self.precision, self.scaler = precision, precision.scaler()

    def train_step(self, fake: Tensor, real: Tensor) -> Tensor:
        """Adds a micro-batch's gradients for `step`; returns the discriminators' loss: real to 1, fake to 0."""
        loss = torch.stack(
            [
                (1 - r).square().mean() + f.square().mean()
                for (r, _), (f, _) in zip(self.discriminators(real), self.discriminators(fake.detach()), strict=True)
            ]
        ).mean()
        with self.precision.autocast(False):
            self.scaler.backward(loss * self.share)
        self._learnt = True
        return loss.detach()

    def gradient_norm(self, world: World) -> Tensor | None:
        """Sums the gradients over all processes, clips them and returns their norm; None when nothing was learnt."""
        if not self._learnt:
            return None
        world.sum_gradients(self.discriminators.parameters())
        self.scaler.unscale(self.optimizer)
        return nn.utils.clip_grad_norm_(self.discriminators.parameters(), CLIP)

    def step(self, finite: bool) -> None:
        """Moves the discriminators by what they learnt, if anything and if the gradients are finite."""
        if self._learnt:
            self.scaler.step(self.optimizer, finite)
        self.optimizer.zero_grad(set_to_none=True)
        self._learnt = False

    def forward(self, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Generator's adversarial loss and feature-matching loss, each the mean over discriminators."""
        self.discriminators.requires_grad_(False)
        with torch.no_grad():
            truth = self.discriminators(real)
        judged = self.discriminators(fake)
        adversarial = torch.stack([(1 - scores).square().mean() for scores, _ in judged]).mean()
        matching = torch.stack(
            [
                torch.stack([(a - b).abs().mean() for a, b in zip(fm, rm, strict=True)]).mean()
                for (_, fm), (_, rm) in zip(judged, truth, strict=True)
            ]
        ).mean()
        self.discriminators.requires_grad_(True)
        return adversarial, matching
