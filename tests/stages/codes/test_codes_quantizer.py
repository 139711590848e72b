"""FSQ: every code is reachable and comes back, and the gradient passes straight through."""

import pytest
import torch

from stages.nn.quantizer import FiniteScalarQuantizer

LEVELS = [(8, 5, 5, 5), (4, 3, 3), (2, 7)]


@pytest.mark.parametrize("levels", LEVELS)
def test_every_code_comes_back(levels):
    quantizer = FiniteScalarQuantizer(levels)
    codes = torch.arange(quantizer.size)
    values = quantizer.decode(codes)
    assert values.shape == (quantizer.size, len(levels)) and values.unique(dim=0).shape[0] == quantizer.size
    half = torch.div(quantizer.levels, 2, rounding_mode="floor")
    bounded = values * half  # what `bound` must have given: invert it
    reach = (quantizer.levels - 1) * (1 + 1e-3) / 2
    offset = torch.where(quantizer.levels % 2 == 0, 0.5, 0.0)
    z = torch.atanh((bounded + offset) / reach) - torch.atanh(offset / reach)
    again, found = quantizer(z)
    assert torch.equal(found, codes)
    torch.testing.assert_close(again, values)


@pytest.mark.parametrize("levels", LEVELS)
def test_only_so_many_levels_and_all_of_them(levels):
    quantizer = FiniteScalarQuantizer(levels)
    values, codes = quantizer(torch.linspace(-9, 9, 4001).unsqueeze(1).expand(-1, len(levels)))
    assert [values[:, i].unique().numel() for i in range(len(levels))] == list(levels)
    assert codes.min() == 0 and codes.max() == quantizer.size - 1 and values.abs().max() <= 1


def test_gradient_is_that_of_the_bounding_alone():
    quantizer, z = FiniteScalarQuantizer((8, 5)), torch.randn(20, 2, requires_grad=True)
    half = torch.div(quantizer.levels, 2, rounding_mode="floor")
    (straight,) = torch.autograd.grad(quantizer(z)[0].sum(), z)
    (bounded,) = torch.autograd.grad((quantizer.bound(z) / half).sum(), z)
    torch.testing.assert_close(straight, bounded)
    assert (straight > 0).all()
