"""Attention: nothing looks ahead, the cache changes nothing, padding changes nothing."""

import pytest
import torch

from stages.nn.attention import CrossAttention, KeyValueCache, SelfAttention, rotary_angles, rotate
from stages.nn.transformer import Transformer

S = 9


@pytest.fixture
def transformer():
    torch.manual_seed(0)
    return Transformer(width=16, depth=2, heads=2).eval()


def tables(length, head_dim=8, first=0):
    cos, sin = rotary_angles(torch.arange(first, first + length).unsqueeze(0), head_dim)
    return cos.unsqueeze(1), sin.unsqueeze(1)


def test_causal_mask_stops_every_gradient_from_the_future(transformer):
    x = torch.randn(1, S, 16, requires_grad=True)
    mask = torch.ones(S, S, dtype=torch.bool).tril()[None, None]
    for place in range(S):
        (gradient,) = torch.autograd.grad(transformer(x, *tables(S), mask)[0, place].square().sum(), x)
        reached = gradient[0].abs().sum(-1) > 0
        assert reached[: place + 1].all() and not reached[place + 1 :].any()


@torch.no_grad()
def test_cache_is_the_full_forward(transformer):
    x = torch.randn(1, S, 16)
    mask = torch.ones(S, S, dtype=torch.bool).tril()[None, None]
    whole = transformer(x, *tables(S), mask)
    cache = KeyValueCache(2, 1, 2, S, 8)
    parts = [transformer(x[:, :4], *tables(4), mask[:, :, :4, :4], cache)]
    parts += [transformer(x[:, i : i + 1], *tables(1, first=i), None, cache) for i in range(4, S)]
    assert cache.length == S
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_expanded_cache_rows_do_not_share_memory(transformer):
    cache = KeyValueCache(2, 1, 2, S, 8)
    transformer(torch.randn(1, 3, 16), *tables(3), None, cache)
    rows = cache.expand(3)
    assert rows.length == 3 and torch.equal(rows.keys[:, 0], rows.keys[:, 2])
    x = torch.randn(3, 1, 16)
    together = transformer(x, *tables(1, first=3), None, rows)
    alone = transformer(x[1:2], *tables(1, first=3), None, cache.expand(1))
    torch.testing.assert_close(together[1:2], alone, rtol=1e-5, atol=1e-5)
    assert cache.length == 3 and not cache.keys[:, :, :, 3:].any()


@torch.no_grad()
def test_masked_padding_changes_nothing(transformer):
    x = torch.randn(1, S, 16)
    padded = torch.cat((x, torch.randn(1, 4, 16)), 1)
    mask = (torch.arange(S + 4) < S)[None, None, None].expand(1, 1, S + 4, S + 4)
    torch.testing.assert_close(
        transformer(padded, *tables(S + 4), mask)[:, :S], transformer(x, *tables(S)), rtol=1e-5, atol=1e-5
    )


@torch.no_grad()
def test_rotation_keeps_lengths_and_knows_only_distances():
    q, k = torch.randn(2, 8)
    cos, sin = rotary_angles(torch.arange(40), 8)
    turned = [rotate(v.expand(40, -1), cos, sin) for v in (q, k)]
    torch.testing.assert_close(turned[0].norm(dim=-1), q.norm().expand(40))
    products = turned[0] @ turned[1].T
    torch.testing.assert_close(products[3, 1], products[33, 31], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_shapes():
    assert SelfAttention(16, 4)(torch.randn(2, 5, 16), *tables(5, 4)).shape == (2, 5, 16)
    assert CrossAttention(16, 4)(torch.randn(2, 3, 16), torch.randn(2, 7, 16)).shape == (2, 3, 16)
