"""Both flows: what they do can be undone, keeps the volume, and is the same alone and in a padded batch."""

import pytest
import torch

from stages.vits.blocks import sequence_mask
from stages.vits.flows import FlowConfig, make_flow

CHANNELS, CONDITION, FRAMES = 6, 5, 21
LENGTHS = torch.tensor([21, 1, 8, 13, 20, 2, 5, 11])


def flow(kind, condition=CONDITION, seed=0):
    """A small one whose shifts are not 0."""
    torch.manual_seed(seed)
    config = FlowConfig(kind, flows=4, width=16, layers=2, filter=24, transformer_layers=3)
    made = make_flow(config, CHANNELS, condition).eval()
    for coupling in made.couplings:
        torch.nn.init.normal_(coupling.shift.weight, std=0.2)
        torch.nn.init.normal_(coupling.shift.bias, std=0.5)
    return made


@pytest.fixture
def batch():
    draws = torch.Generator().manual_seed(1)
    mask = sequence_mask(LENGTHS, FRAMES)
    z = torch.randn(len(LENGTHS), CHANNELS, FRAMES, generator=draws) * mask
    return z, mask, torch.randn(len(LENGTHS), CONDITION, 1, generator=draws)


@pytest.mark.parametrize("kind", ["affine", "transformer"])
def test_a_flow_is_undone_by_its_inverse(kind, batch):
    z, mask, condition = batch
    made = flow(kind)
    for there in (False, True):
        moved = made(z, mask, condition, reverse=there)
        assert (moved - z).abs().max() > 0.1 and not (moved * (1 - mask)).any()
        assert (made(moved, mask, condition, reverse=not there) - z).abs().max() <= 1e-4
    bare = flow(kind, 0)
    assert (bare(bare(z, mask), mask, reverse=True) - z).abs().max() <= 1e-4


@pytest.mark.parametrize("kind", ["affine", "transformer"])
def test_a_batch_is_its_items_whatever_lies_in_the_padding(kind, batch):
    z, mask, condition = batch
    made = flow(kind)
    for reverse in (False, True):
        together = made(z, mask, condition, reverse=reverse)
        dirty = made(z + 100 * (1 - mask), mask, condition, reverse=reverse)
        for i, n in enumerate(LENGTHS.tolist()):
            alone = made(z[i : i + 1, :, :n], mask[i : i + 1, :, :n], condition[i : i + 1], reverse=reverse)
            assert (together[i, :, :n] - alone[0]).abs().max() <= 1e-5
            assert (dirty[i, :, :n] - alone[0]).abs().max() <= 1e-5


@pytest.mark.parametrize("kind", ["affine", "transformer"])
def test_a_flow_keeps_the_volume_and_hears_the_speaker(kind, batch):
    z, mask, condition = batch
    made = flow(kind)
    jacobian = torch.autograd.functional.jacobian(lambda x: made(x, mask[5:6, :, :2], condition[5:6]), z[5:6, :, :2])
    size = CHANNELS * 2
    assert torch.linalg.det(jacobian.reshape(size, size).double()).abs() == pytest.approx(1.0, abs=1e-4)
    assert (made(z, mask, condition) - made(z, mask, -condition)).abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["affine", "transformer"])
def test_a_fresh_flow_only_turns_the_channels_round(kind, batch):
    z, mask, condition = batch
    fresh = make_flow(FlowConfig(kind, flows=3, width=16, layers=1, filter=8), CHANNELS, CONDITION)
    assert torch.equal(fresh(z, mask, condition), z.flip(1))


def test_settings_that_cannot_be_are_one_sentence():
    with pytest.raises(ValueError, match="unknown flow 'convolutional'; known: affine, transformer"):
        FlowConfig("convolutional")
    with pytest.raises(ValueError, match="there are 5; give an even number"):
        make_flow(FlowConfig(), 5, 0)
    with pytest.raises(ValueError, match="3 heads do not divide a width of 16"):
        make_flow(FlowConfig("transformer", width=16, heads=3), 4, 0)
