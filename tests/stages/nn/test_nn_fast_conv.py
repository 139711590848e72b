"""Convolutions by short Fourier transforms give what the direct ones give."""

import pytest
import torch
from torch import nn

from stages.nn.fast_conv import FastConv1d, fits, quicken


def conv(channels, taps, dilation=1, **options):
    torch.manual_seed(taps)
    return nn.Conv1d(channels, channels, taps, dilation=dilation, padding=dilation * (taps // 2), **options)


@pytest.mark.parametrize(("taps", "dilation"), [(7, 1), (7, 5), (11, 1), (11, 3), (3, 2), (15, 1)])
@torch.inference_mode()
def test_results_are_those_of_the_direct_way_at_every_length(taps, dilation):
    direct = conv(6, taps, dilation, bias=taps != 11)
    fast = FastConv1d(direct)
    for length in (1, 40, 16 * fast.step, 16 * fast.step + 1, 1000, 1333):
        x = torch.randn(2, 6, length, generator=torch.Generator().manual_seed(length))
        wanted = direct(x)
        assert fast(x).shape == wanted.shape and (fast(x) - wanted).abs().max() < 3e-6
        # a row is the same whatever its neighbours, where it is not torch's own convolution
        assert length < 1000 or torch.equal(fast(x)[1:], fast(x[1:]))


@torch.inference_mode()
def test_what_fits_is_replaced_and_nothing_else():
    kept = [
        conv(128, 3),
        conv(64, 11),
        nn.Conv1d(128, 128, 7),
        nn.Conv1d(128, 128, 7, 2, 3),
        nn.ConvTranspose1d(128, 128, 7),
    ]
    kept += [conv(128, 7, groups=2), conv(128, 7, padding_mode="reflect"), nn.Linear(128, 128)]
    assert not any(fits(part) for part in kept)
    net = nn.Sequential(conv(128, 7, 3), nn.Sequential(nn.ReLU(), conv(128, 3)))
    x = torch.randn(1, 128, 700, generator=torch.Generator().manual_seed(0))
    wanted, state = net(x), set(net.state_dict())
    quicken(net)
    quicken(net)
    assert isinstance(net[0], FastConv1d) and isinstance(net[0].conv, nn.Conv1d) and type(net[1][1]) is nn.Conv1d
    assert (net(x) - wanted).abs().max() < 1e-5 and len(state) == len(net.state_dict())
