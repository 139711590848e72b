"""The adversarial loss: it owns the discriminators and their optimizer, so that the trainer knows nothing of GANs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.training.optim import adamw


class AdversarialLoss(nn.Module):
    """Least-squares GAN (Mao et al. 2017) with feature matching (Kumar et al. 2019).

    Args:
        discriminators: maps a signal (B, L) to a list of (scores, feature maps).
    """

    def __init__(self, discriminators: nn.Module, lr: float, betas: tuple[float, float] = (0.8, 0.99)) -> None:
        super().__init__()
        self.discriminators = discriminators
        self.optimizer = adamw(discriminators, lr, betas, 0.01)

    def train_step(self, fake: Tensor, real: Tensor) -> Tensor:
        """One step of the discriminators; returns their loss: real to 1, fake to 0."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = torch.stack(
            [
                (1 - r).square().mean() + f.square().mean()
                for (r, _), (f, _) in zip(self.discriminators(real), self.discriminators(fake.detach()), strict=True)
            ]
        ).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(self.discriminators.parameters(), 10.0)
        self.optimizer.step()
        return loss.detach()

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
