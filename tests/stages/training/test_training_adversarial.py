"""The adversarial loss: each signal is judged once, and all gradients are those of the textbook's two passes."""

import pytest
import torch
from torch import nn

from stages.nn.discriminators import DiscriminatorConfig, Discriminators
from stages.training.adversarial import AdversarialLoss
from stages.training.distributed import World
from stages.training.precision import Precision

CONFIG = DiscriminatorConfig(periods=(2, 3), period_width=2, scales=0, spectra=((64, 16),), spectrum_width=2)


class Counted(nn.Module):
    """Discriminators that say how often they were asked."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.judges, self.asked = Discriminators(CONFIG), 0

    def forward(self, sound):
        self.asked += 1
        return self.judges(sound)


@pytest.fixture
def adversary():
    return AdversarialLoss(Counted(), 1e-3)


def signals(seed=0):
    """What is made of a gain (400,), and what it should be."""
    draws = torch.Generator().manual_seed(seed)
    gain, source, real = (torch.randn(shape, generator=draws) for shape in ((400,), (2, 400), (2, 400)))
    return gain.requires_grad_(), source, real


def textbook(judges, fake, real):
    """The three losses as the papers have them, the discriminators' on a fake that does not move the generator."""
    learnt = [
        ((1 - r).square().mean() + f.square().mean())
        for (r, _), (f, _) in zip(judges(real), judges(fake.detach()), strict=True)
    ]
    judged, truth = judges(fake), judges(real)
    adversarial = [(1 - scores).square().mean() for scores, _ in judged]
    matching = [
        torch.stack([(a - b.detach()).abs().mean() for a, b in zip(x, y, strict=True)]).mean()
        for (_, x), (_, y) in zip(judged, truth, strict=True)
    ]
    return [torch.stack(terms).mean() for terms in (learnt, adversarial, matching)]


def test_it_is_the_textbook_s_in_one_pass(adversary):
    gain, source, real = signals()
    learnt, adversarial, matching = textbook(adversary.discriminators, source * gain, real)
    wanted_weights = torch.autograd.grad(learnt, list(adversary.parameters()))
    (wanted_gain,) = torch.autograd.grad(3 * adversarial + 5 * matching, gain)
    adversary.discriminators.asked = 0
    got = adversary(source * gain, real)
    (3 * got[1] + 5 * got[2]).backward()
    assert adversary.discriminators.asked == 2  # true and made, once each
    for a, b in zip(got, (learnt, adversarial, matching), strict=True):
        torch.testing.assert_close(a, b)
    assert not got[0].requires_grad
    torch.testing.assert_close(gain.grad, wanted_gain)
    for p, wanted in zip(adversary.parameters(), wanted_weights, strict=True):
        torch.testing.assert_close(p.grad, wanted)


def test_each_of_the_two_losses_alone_has_its_own_gradient(adversary):
    gain, source, real = signals()
    _, adversarial, matching = textbook(adversary.discriminators, source * gain, real)
    for index, loss in ((1, adversarial), (2, matching)):
        (wanted,) = torch.autograd.grad(loss, gain, retain_graph=True)
        (found,) = torch.autograd.grad(adversary(source * gain, real)[index], gain)
        torch.testing.assert_close(found, wanted)


def test_micro_batches_add_up_and_move_once(adversary):
    whole, parts = adversary, AdversarialLoss(Counted(), 1e-3)
    gain, source, real = signals()
    whole(source * gain, real)
    parts.share = 0.5
    for i in range(2):
        parts((source * gain)[i : i + 1], real[i : i + 1])
    torch.testing.assert_close(parts.gradient_norm(World()), whole.gradient_norm(World()))
    for p, q in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)
    before = [p.detach().clone() for p in parts.parameters()]
    parts.step(True)
    assert parts.gradient_norm(World()) is None and all(p.grad is None for p in parts.parameters())
    assert not any(torch.equal(p, q) for p, q in zip(parts.parameters(), before, strict=True))


def test_scaled_losses_give_the_same_gradients(adversary):
    """float16's loss scale is in the gradients until they are clipped; the generator's own scale is its own."""
    plain, (gain, source, real) = AdversarialLoss(Counted(), 1e-3), signals()
    plain(source * gain, real)
    wanted = plain.gradient_norm(World())
    adversary.use(Precision("float16", "cpu"))
    with torch.autocast("cpu", enabled=False):
        scaled = 1024.0 * adversary(source * gain, real)[1]
    scaled.backward()
    assert next(adversary.parameters()).grad.norm() > 100 * next(plain.parameters()).grad.norm()
    torch.testing.assert_close(adversary.gradient_norm(World()), wanted)
    (unscaled,) = torch.autograd.grad(plain(source * gain, real)[1], gain)
    torch.testing.assert_close(gain.grad, 1024.0 * unscaled)


def test_bfloat16_runs_and_reaches_the_signal(adversary):
    adversary.use(Precision("bfloat16", "cpu"))
    gain, source, real = signals()
    with adversary.precision.autocast():
        _, adversarial, matching = adversary(source * gain, real)
    (adversarial + matching).backward()
    assert gain.grad.isfinite().all() and gain.grad.abs().sum() > 0


def test_a_fake_that_nobody_made_still_teaches_the_discriminators(adversary):
    _, source, real = signals()
    learnt, adversarial, _ = adversary(source, real)
    assert not adversarial.requires_grad and adversary.gradient_norm(World()) > 0 and float(learnt) > 0


def test_discriminators_without_feature_maps_match_nothing():
    class Scores(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(400, 1)

        def forward(self, sound):
            return [(self.net(sound), [])]

    gain, source, real = signals()
    _, adversarial, matching = AdversarialLoss(Scores(), 1e-3)(source * gain, real)
    (adversarial + matching).backward()
    assert matching.item() == 0.0 and gain.grad.abs().sum() > 0
