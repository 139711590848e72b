"""Convolutions with fewer products, for inference on CPUs: overlapping tiles and short Fourier transforms.

A tile of N samples times a filter of K taps gives N - K + 1 results. In the frequency domain a pair of channels then
costs N / 2 complex products, each of three real ones (Gauss), in place of K * (N - K + 1): 47 in place of 242 for 11
taps and tiles of 32. Everything, the transforms too, is a matrix product, which CPUs do best (cf. the minimal filters
of Winograd, Lavin and Gray 2016, whose points are real and lose digits as N grows; these lose none).
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST_TAPS, LEAST_CHANNELS = 7, 128
"""from which on the transforms pay (measured on a core with AVX-512)"""
LEAST_TILES, ALIGNED = 16, 16
"""fewer tiles than this go the direct way; the number of tiles is rounded up to aligned rows"""


@functools.lru_cache(maxsize=8)
def bilinear(size: int, taps: int) -> tuple[Tensor, Tensor, Tensor]:
    """The three matrices, float64, of `result = after.T @ ((filter @ w) * (before @ tile))`.

    Returns:
        before (R, size), filter (R, taps), after (R, size - taps + 1), for R real products.
    """
    turn = torch.arange(size, dtype=torch.float64) * (2 * math.pi / size)
    before: list[Tensor] = []
    weigh: list[Tensor] = []
    after: list[Tensor] = []
    for frequency in range(size // 2 + 1):
        c, s = torch.cos(frequency * turn), torch.sin(frequency * turn)
        w_c, w_s, y_c, y_s = c[:taps], s[:taps], c[: size - taps + 1], s[: size - taps + 1]
        if frequency in (0, size / 2):
            before.append(c)
            weigh.append(w_c)
            after.append(y_c / size)
        else:  # (c - i s) (w_c + i w_s) by three products: real part first - third, imaginary part first + second
            before += [c - s, c, -s]
            weigh += [w_c, w_s - w_c, w_c + w_s]
            after += [2 / size * (y_c - y_s), -2 / size * y_s, -2 / size * y_c]
    return torch.stack(before), torch.stack(weigh), torch.stack(after)


class FastConv1d(nn.Module):
    """What `conv` computes, to about 1e-6 of its size. Not for training: the weights are transformed once.

    Args:
        conv: with an odd kernel, stride 1, one group and the zeros either side that keep the length.
    """

    before: Tensor
    after: Tensor
    weight: Tensor

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        self.conv, self.taps, self.dilation = conv, conv.kernel_size[0], conv.dilation[0]
        self.size = 8 * round(3 * self.taps / 8)
        self.step = self.size - self.taps + 1
        before, weigh, after = bilinear(self.size, self.taps)
        with torch.no_grad():
            weight = torch.einsum("rk,oik->roi", weigh, conv.weight.double()).float()
        self.register_buffer("before", before.float(), persistent=False)
        self.register_buffer("after", after.float(), persistent=False)
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, L) -> (B, O, L)."""
        if self.dilation * -(-x.shape[2] // (self.dilation * self.step)) < LEAST_TILES:
            out: Tensor = self.conv(x)
            return out
        return torch.cat([self._row(row) for row in x]) if len(x) > 1 else self._row(x[0])

    def _row(self, x: Tensor) -> Tensor:
        """x (C, L) -> (1, O, L). A dilated filter is an undilated one on every d-th sample, from each of d starts."""
        (channels, length), d = x.shape, self.dilation
        each = -(-length // (d * self.step))
        tiles, side = d * each, d * (self.taps // 2)
        rows = -(-tiles // ALIGNED) * ALIGNED
        x = F.pad(x, (side, side + tiles * self.step - length)).view(channels, -1, d).transpose(1, 2).contiguous()
        span = x.shape[2]
        cut = x.new_zeros(channels, rows, self.size)
        strides = (d * span, span, self.step, 1)
        cut[:, :tiles].unflatten(1, (d, each)).copy_(x.as_strided((channels, d, each, self.size), strides))
        points = torch.mm(self.before, cut.view(-1, self.size).t()).view(-1, channels, rows)
        points = torch.bmm(self.weight, points)
        if self.conv.bias is not None:  # a constant is all in the frequency 0
            points[0] += self.size * self.conv.bias.unsqueeze(1)
        out = torch.mm(points.flatten(1).t(), self.after).view(-1, rows, self.step)[:, :tiles]
        return out.unflatten(1, (d, each)).flatten(2).transpose(1, 2).reshape(1, len(out), -1)[..., :length]


def fits(conv: nn.Module) -> bool:
    """Whether FastConv1d can do what `conv` does, and faster."""
    if not isinstance(conv, nn.Conv1d) or conv.stride != (1,) or conv.groups != 1 or conv.padding_mode != "zeros":
        return False
    taps = conv.kernel_size[0]
    kept = taps % 2 == 1 and conv.padding == (conv.dilation[0] * (taps // 2),)
    return kept and taps >= LEAST_TAPS and min(conv.in_channels, conv.out_channels) >= LEAST_CHANNELS


def quicken(module: nn.Module) -> None:
    """Puts FastConv1d in the place of every convolution in `module` that it fits; weight norms are folded before."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if fits(child) and not isinstance(parent, FastConv1d):
                setattr(parent, name, FastConv1d(child))  # type: ignore[arg-type]
