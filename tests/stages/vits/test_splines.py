"""Rational-quadratic splines: increasing, invertible everywhere, gradients finite everywhere."""

import pytest
import torch
from torch.autograd.functional import jacobian

from stages.vits.splines import rational_quadratic


def shapes(count, bins=10, size=0.5, seed=0, dtype=torch.float32):
    draws = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(count, n, generator=draws, dtype=dtype) * size for n in (bins, bins, bins - 1))


def everywhere(seed=0, dtype=torch.float32):
    """Values inside, in both tails, at the ends and beyond the smallest step from them."""
    ends = torch.tensor([-5.0, 5.0, 0.0, -1e6, 1e6, 5 + 5e-7, -5 - 5e-7, 5 - 5e-7], dtype=dtype)
    return torch.cat((torch.randn(1992, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 4, ends))


@pytest.mark.parametrize("seed", range(10))
def test_there_and_back_in_single_precision(seed):
    x, shape = everywhere(seed), shapes(2000, seed=seed)
    y, slope = rational_quadratic(x, *shape)
    back, slope_back = rational_quadratic(y, *shape, inverse=True)
    assert torch.allclose(back, x, rtol=0, atol=1e-4) and torch.allclose(slope, -slope_back, atol=1e-4)


@pytest.mark.parametrize("size", [2.0, 6.0])
def test_steep_splines_come_back_in_double_precision(size):
    """Slopes reach 1000, at which single precision cannot hold the value in between."""
    x, shape = everywhere(dtype=torch.float64), shapes(2000, size=size, dtype=torch.float64)
    y, _ = rational_quadratic(x, *shape)
    assert y.dtype == torch.float64 and (rational_quadratic(y, *shape, inverse=True)[0] - x).abs().max() < 1e-8


def test_values_at_the_knots_come_back():
    widths, heights, slopes = shapes(1, bins=4)
    inner = (0.001 + 0.996 * widths.softmax(-1)).cumsum(-1)[0, :-1] * 10 - 5
    shape = [s.expand(len(inner), -1) for s in (widths, heights, slopes)]
    y, _ = rational_quadratic(inner, *shape)
    expected = (0.001 + 0.996 * heights.softmax(-1)).cumsum(-1)[0, :-1] * 10 - 5
    assert torch.allclose(y, expected, atol=1e-5)
    assert torch.allclose(rational_quadratic(y, *shape, inverse=True)[0], inner, atol=1e-4)


def test_it_increases_and_is_the_identity_in_its_tails():
    x = torch.linspace(-7, 7, 2001)
    y, slope = rational_quadratic(x, *(s.expand(2001, -1) for s in shapes(1, size=3.0)))
    tails = x.abs() > 5
    assert (y.diff() > 0).all() and torch.equal(y[tails], x[tails]) and not slope[tails].any()


@pytest.mark.parametrize("inverse", [False, True])
def test_the_slope_is_the_derivative(inverse):
    x = torch.linspace(-5.5, 5.5, 40, dtype=torch.float64)
    shape = shapes(40, size=1.5, dtype=torch.float64)
    _, slope = rational_quadratic(x, *shape, inverse=inverse)
    found = jacobian(lambda v: rational_quadratic(v, *shape, inverse=inverse)[0].sum(), x)
    assert torch.allclose(found.log(), slope, atol=1e-9)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("size", [0.0, 1.0, 30.0])
def test_gradients_are_finite_everywhere(size, inverse):
    inputs = [t.clone().requires_grad_() for t in (everywhere(), *shapes(2000, size=size))]
    y, slope = rational_quadratic(*inputs, inverse=inverse)
    (y.sum() + slope.sum()).backward()
    assert y.isfinite().all() and slope.isfinite().all()
    assert all(t.grad is not None and t.grad.isfinite().all() for t in inputs)


def test_half_precision_parameters_are_computed_in_single():
    x, shape = everywhere(), [s.bfloat16() for s in shapes(2000)]
    assert torch.equal(rational_quadratic(x, *shape)[0], rational_quadratic(x, *(s.float() for s in shape))[0])


def test_too_many_bins_are_one_sentence():
    with pytest.raises(ValueError, match="1001 bins do not fit; give a spline at most 1000"):
        rational_quadratic(torch.zeros(1), *shapes(1, bins=1001))
