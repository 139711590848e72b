"""The adversarial loss: it owns the discriminators and their optimizer, so that the trainer knows nothing of GANs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from stages.training import resume
from stages.training.distributed import World
from stages.training.optim import adamw
from stages.training.precision import Precision

CLIP = 10.0


class AdversarialLoss(nn.Module):
    """Least-squares GAN (Mao et al. 2017) with feature matching (Kumar et al. 2019).

    Discriminators learn from every micro-batch of a step and move once, with the generator, so that a step is the same
    however it is cut into micro-batches and processes. Both sides of a step thus meet the same discriminators, and one
    judgement of each signal serves both: the usual order (discriminators move, then judge again) takes two.

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

    def forward(self, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Judges a micro-batch and adds the discriminators' gradients for `step`.

        Args:
            fake: what the generator made, (B, L).
            real: what it should be like, (B, L).

        Returns:
            The discriminators' loss (real to 1, fake to 0), to be logged; the generator's adversarial and
            feature-matching losses, to be minimised. Each is the mean over discriminators; without feature maps the
            last is 0.
        """
        heard = fake.detach().requires_grad_()
        with parametrize.cached():  # a normalised weight is computed once for both
            truth, judged = self.discriminators(real), self.discriminators(heard)
        discriminators = _mean([_squares(1 - r) + _squares(f) for (r, _), (f, _) in zip(truth, judged, strict=True)])
        with self.precision.autocast(False):
            learning = [p for p in self.discriminators.parameters() if p.requires_grad]
            self.scaler.backward(discriminators * self.share, inputs=learning, retain_graph=True)
        self._learnt = True
        adversarial = _mean([_squares(1 - scores) for scores, _ in judged])
        distances = [
            _mean([(a - b.detach()).abs().mean() for a, b in zip(made, true, strict=True)])
            for (_, made), (_, true) in zip(judged, truth, strict=True)
            if made
        ]
        matching = _mean(distances) if distances else 0 * adversarial
        adversarial, matching = _Judged.apply(fake, (heard, (adversarial, matching)))
        return discriminators.detach(), adversarial, matching

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

    def saved(self, name: str = "adversary") -> dict[str, Tensor]:
        """What a resume needs, as named tensors."""
        state = {f"{name}.{k}": v for k, v in self.state_dict().items()}
        return state | resume.flatten_optimizer(f"{name}_optimizer", self.optimizer)

    def scales(self) -> dict[str, Any]:
        """The loss scale as JSON values."""
        return self.scaler.state()

    def restore(self, state: dict[str, Tensor], scales: dict[str, Any], name: str = "adversary") -> None:
        """The inverse of `saved` and `scales`."""
        self.load_state_dict(resume.part(state, name))
        resume.restore_optimizer(self.optimizer, resume.part(state, f"{name}_optimizer"))
        self.scaler.restore(scales)


class _Judged(torch.autograd.Function):
    """Losses of a signal whose gradients reach the signal alone, not the weights of those who judged it.

    Autograd would compute the weights' too, half of the work, only for them to be thrown away.
    """

    @staticmethod
    def forward(ctx: Any, fake: Tensor, judged: tuple[Tensor, tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """fake; a leaf of the same values and the losses computed of it, hidden in a tuple from autograd -> losses."""
        ctx.judged = judged
        return tuple(loss.detach().clone() for loss in judged[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient at `fake`; what the judges remembered is freed."""
        leaf, losses = ctx.judged
        ctx.judged = None
        (gradient,) = torch.autograd.grad(losses, leaf, gradients)
        return gradient, None


def _squares(scores: Tensor) -> Tensor:
    return scores.square().mean()


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()
