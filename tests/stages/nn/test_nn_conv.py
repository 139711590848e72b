"""Convolution blocks and voice conditioning: shapes, modulation, rows that do not see each other."""

import pytest
import torch

from stages.nn.conditioning import REFERENCE_FRAMES, ConditioningEncoder, VoiceVector, reference_windows
from stages.nn.conv import ConvNeXtBlock, ConvNeXtStack, TimeConv


@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("frames", [1, 2, 17])
def test_convnext_keeps_the_shape(dilation, frames):
    assert ConvNeXtBlock(8, kernel=5, dilation=dilation)(torch.randn(2, frames, 8)).shape == (2, frames, 8)


def test_stack_cycles_through_dilations():
    blocks = ConvNeXtStack(8, 3, dilations=(1, 2)).blocks
    assert [b.depthwise.dilation[0] for b in blocks] == [1, 2, 1]


def test_modulation_starts_as_nothing_and_is_learned():
    block, x, condition = ConvNeXtBlock(8, condition=4), torch.randn(2, 6, 8), torch.randn(2, 4)
    torch.testing.assert_close(block(x, condition), block(x, torch.zeros(2, 4)))
    block(x, condition).sum().backward()
    assert block.modulation.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("kernel", "stride"), [(5, 1), (7, 1), (4, 4)])
def test_time_conv_length(kernel, stride):
    assert TimeConv(3, 6, kernel, stride)(torch.randn(2, 16, 3)).shape == (2, 16 // stride, 6)


@torch.no_grad()
def test_conditioning_shapes_and_rows_are_strangers():
    torch.manual_seed(0)
    encoder, vector = ConditioningEncoder(8, 16, latents=3).eval(), VoiceVector(8, 16).eval()
    reference = torch.randn(2, REFERENCE_FRAMES, 8)
    assert encoder(reference).shape == (2, 3, 16) and vector(reference).shape == (2, 16)
    torch.testing.assert_close(encoder(reference)[1:], encoder(reference[1:]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(vector(reference).mean(-1), torch.zeros(2), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("frames", "windows"), [(1, 1), (100, 1), (192, 1), (200, 1), (300, 2), (384, 2), (1000, 5)])
def test_reference_windows(frames, windows):
    mel = torch.arange(frames).float().unsqueeze(1).expand(-1, 4)
    out = reference_windows(mel, -1.0)
    assert out.shape == (windows, REFERENCE_FRAMES, 4)
    kept = out[..., 0].flatten()
    kept = kept[kept >= 0]
    assert torch.equal(kept, torch.arange(len(kept)).float())  # in order, from the start
