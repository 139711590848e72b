"""Monotonic rational-quadratic splines with linear tails (Durkan et al. 2019, "Neural Spline Flows")."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST_BIN, LEAST_SLOPE = 1e-3, 1e-3
"""share of the interval that a bin has at least; slope that a knot has at least"""
_UNIT_SLOPE = math.log(math.expm1(1 - LEAST_SLOPE))
"""what the softplus makes a slope of 1, that of the tails"""
_LEAST_ROOT = 1e-12
"""below every discriminant that is possible, so that the square root's gradient stays finite whatever is rounded"""


def rational_quadratic(
    x: Tensor, widths: Tensor, heights: Tensor, slopes: Tensor, tail: float = 5.0, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """An increasing spline on [-tail, tail], the identity outside of it (Durkan et al. 2019, section 3.1, eq. 4-8).

    Every value goes through the spline, clamped to where it is defined, and the tails are chosen afterwards: that is
    cheaper than gathering the values inside, needs no look at the device and keeps all gradients finite.

    Args:
        x: (...) values, or with `inverse` the results of the spline.
        widths, heights: (..., K) unnormalised sizes of the K bins.
        slopes: (..., K - 1) unnormalised derivatives at the inner knots; those at the ends are 1.

    Returns:
        (...) results and (...) log of the derivative of this direction, both float32 at least.

    Raises:
        ValueError: so many bins that their least sizes do not fit.
    """
    if widths.shape[-1] * LEAST_BIN > 1:
        raise ValueError(f"{widths.shape[-1]} bins do not fit; give a spline at most {round(1 / LEAST_BIN)}")
    x = _at_least_single(x)
    across, up = (_knots(_at_least_single(sizes), tail) for sizes in (widths, heights))
    ends = F.pad(_at_least_single(slopes), (1, 1), value=_UNIT_SLOPE)
    inside = x.clamp(-tail, tail)
    inner = (up if inverse else across)[..., 1:-1]
    bins = (inside.unsqueeze(-1) >= inner).sum(-1, keepdim=True)
    knots = torch.stack((across, up, LEAST_SLOPE + F.softplus(ends)))
    both = torch.cat((bins, bins + 1), -1).expand(3, *bins.shape[:-1], 2)
    (x0, x1), (y0, y1), (d0, d1) = (knot.unbind(-1) for knot in knots.gather(-1, both))
    steepness = (y1 - y0) / (x1 - x0)
    if inverse:
        share = _root((inside - y0) / (y1 - y0), steepness, d0, d1)
        y = x0 + share * (x1 - x0)
    else:
        share = (inside - x0) / (x1 - x0)
    between = share * (1 - share)
    denominator = steepness + (d0 + d1 - 2 * steepness) * between  # eq. 4
    if not inverse:
        y = y0 + (y1 - y0) * (steepness * share.square() + d0 * between) / denominator
    rise = d1 * share.square() + 2 * steepness * between + d0 * (1 - share).square()
    slope = 2 * steepness.log() + rise.log() - 2 * denominator.log()  # eq. 5
    in_tail = x.abs() > tail
    return torch.where(in_tail, x, y), torch.where(in_tail, 0.0, -slope if inverse else slope)


def _root(rise: Tensor, steepness: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
    """Where in its bin (0 to 1) the spline has risen by the share `rise` of the bin (eq. 6-8, over the height)."""
    bend = rise * (d0 + d1 - 2 * steepness)
    a, b, c = steepness - d0 + bend, d0 - bend, -steepness * rise
    root = (b.square() - 4 * a * c).clamp_min(_LEAST_ROOT).sqrt()
    return (2 * c / (-b - root)).clamp(0, 1)


def _knots(sizes: Tensor, tail: float) -> Tensor:
    """(..., K) unnormalised sizes of bins -> (..., K + 1) knots from -tail to tail."""
    shares = LEAST_BIN + (1 - LEAST_BIN * sizes.shape[-1]) * sizes.softmax(-1)
    inner = 2 * tail * shares[..., :-1].cumsum(-1) - tail
    return F.pad(F.pad(inner, (1, 0), value=-tail), (0, 1), value=tail)


def _at_least_single(x: Tensor) -> Tensor:
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
