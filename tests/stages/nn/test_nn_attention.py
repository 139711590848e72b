"""Attention: nothing looks ahead, the cache changes nothing, padding changes nothing."""

import pytest
import torch

from stages.nn.attention import CrossAttention, KeyValueCache, SelfAttention, SlotCache, rotary_angles, rotate
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


def step(transformer, x, cache):
    for layer, block in enumerate(transformer.blocks):
        x = block(x, *cache.angles(), None, cache, layer)
    cache.advance()
    return transformer.norm(x)


@torch.no_grad()
def test_slots_of_other_lengths_continue_their_own_prompts(transformer):
    prompts, whole = [], []
    later = torch.randn(4, 3, 16)  # two slots of two rows
    for slot, length in enumerate((3, 5)):
        x = torch.randn(1, length, 16)
        causal = torch.ones(length + 3, length + 3, dtype=torch.bool).tril()[None, None]
        prompts.append(KeyValueCache(2, 1, 2, length, 8))
        transformer(x, *tables(length), causal[:, :, :length, :length], prompts[-1])
        rows = torch.cat((x.expand(2, -1, -1), later[2 * slot : 2 * slot + 2]), 1)
        whole.append(transformer(rows, *tables(length + 3), causal)[:, length:])
    cache = SlotCache(2, 2, 2, 2, 8, 8)
    cache.load(0, prompts[1])  # what was there before is forgotten
    step(transformer, later[:, :1], cache)
    cache.free(0)
    for slot, prompt in enumerate(prompts):
        cache.load(slot, prompt)
    steps = torch.cat([step(transformer, later[:, n : n + 1], cache) for n in range(3)], 1)
    torch.testing.assert_close(steps, torch.cat(whole), rtol=1e-5, atol=1e-5)
    assert cache.lengths == [6, 8]


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
