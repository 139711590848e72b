"""The judge of durations: what padding is it does not see, and it learns to tell, as does who is judged."""

import pytest
import torch

from stages.training.adversarial import AdversarialLoss
from stages.training.distributed import World
from stages.vits.duration_discriminator import DurationDiscriminator, StackedDurations, stacked

WIDTH, PHONES = 8, 11


def inputs(batch=3):
    """hidden, mask and the logarithms of true durations, which follow from the hidden states."""
    draws = torch.Generator().manual_seed(1)
    mask = (torch.arange(PHONES) < torch.tensor([PHONES - 4 * i for i in range(batch)]).view(-1, 1, 1)).float()
    hidden = torch.randn(batch, WIDTH, PHONES, generator=draws) * mask
    return hidden, mask, (hidden[:, :1] + 2) * mask


@pytest.fixture
def judge():
    torch.manual_seed(0)
    return DurationDiscriminator(WIDTH, 12).eval()


def test_padding_and_neighbours_change_nothing(judge):
    hidden, mask, true = inputs()
    with torch.no_grad():
        scores = judge(hidden + (1 - mask) * 9, mask, true + (1 - mask) * 9)
        assert scores.shape == (3, PHONES) and not (scores * (1 - mask[:, 0])).any()
        for i, count in enumerate(mask.sum((1, 2)).long().tolist()):
            alone = judge(*(t[i : i + 1, :, :count] for t in (hidden, mask, true)))
            assert torch.allclose(scores[i : i + 1, :count], alone, atol=1e-5)


def test_stacked_it_gives_the_scores_of_phones_that_are_there(judge):
    hidden, mask, true = inputs()
    with torch.no_grad():
        ((scores, features),) = StackedDurations(judge)(stacked(hidden, mask, true))
        assert torch.equal(scores, judge(hidden, mask, true)[mask[:, 0] > 0]) and not features


def test_scores_depend_on_durations_and_on_text(judge):
    hidden, mask, true = inputs()
    with torch.no_grad():
        scores = judge(hidden, mask, true)
        assert not torch.equal(scores, judge(hidden, mask, true + 1)) and not torch.equal(
            scores, judge(-hidden, mask, true)
        )


def test_it_tells_true_from_predicted_and_the_predicted_move_to_the_true():
    torch.manual_seed(0)
    hidden, mask, true = inputs()
    adversary = AdversarialLoss(StackedDurations(DurationDiscriminator(WIDTH, 12, dropout=0.0)), 1e-2)
    predicted = torch.full_like(true, 2.0).requires_grad_()
    world, real, told = World(), stacked(hidden, mask, true), []
    for _ in range(40):
        told.append(float(adversary(stacked(hidden, mask, predicted), real)[0]))
        adversary.gradient_norm(world)
        adversary.step(True)
    assert told[0] > 0.5 > 0.1 > told[-1]
    before = float((predicted.detach() - true)[mask > 0].abs().mean())
    optimizer = torch.optim.Adam([predicted], 3e-2)
    for _ in range(40):
        fake = stacked(hidden, mask, predicted)
        optimizer.zero_grad()
        adversary(fake, real)[1].backward()
        optimizer.step()
        adversary.gradient_norm(world)
        adversary.step(True)
    assert float((predicted.detach() - true)[mask > 0].abs().mean()) < 0.8 * before
    assert torch.equal(predicted.detach()[mask == 0], torch.full_like(true, 2.0)[mask == 0])


def test_an_even_kernel_is_one_sentence():
    with pytest.raises(ValueError, match="kernel is 2; give an odd number"):
        DurationDiscriminator(WIDTH, kernel=2)
