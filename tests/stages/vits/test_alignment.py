"""Monotonic alignment search: the best of all monotonic paths, item by item, and one sentence where there is none."""

import itertools

import pytest
import torch
from torch.distributions import Normal

from stages.vits.alignment import log_likelihoods, maximum_path, search


def paths(frames, phones):
    """Every monotonic path as (T,) phones: where the next phone begins is all that differs."""
    for cuts in itertools.combinations(range(1, frames), phones - 1):
        yield torch.tensor([sum(t >= c for c in cuts) for t in range(frames)])


def best_sum(value):
    """The greatest sum over every path through value (T, P)."""
    frames, phones = value.shape
    return max(float(value[torch.arange(frames), path].sum()) for path in paths(frames, phones))


def is_monotonic(path):
    """Whether (T, P) is a path: a phone a frame, from the first to the last, each next one by one."""
    at = path.argmax(1)
    return (
        bool((path.sum(1) == 1).all() and ((path == 0) | (path == 1)).all())
        and at[0] == 0
        and at[-1] == path.shape[1] - 1
        and set((at[1:] - at[:-1]).tolist()) <= {0, 1}
    )


@pytest.mark.parametrize("ties", [False, True])
def test_no_path_is_better(ties):
    """Against every path, in padded batches of items of all sizes; whole numbers make many ways equal."""
    draws = torch.Generator().manual_seed(3 + ties)
    sizes = [(t, p) for t in range(1, 9) for p in range(1, t + 1)]
    for _ in range(5):
        value = torch.randn(len(sizes), 8, 8, generator=draws) * 3
        value = value.round() if ties else value
        mask = torch.zeros_like(value)
        for i, (t, p) in enumerate(sizes):
            mask[i, :t, :p] = 1
        found = maximum_path(value, mask)
        assert not (found * (1 - mask)).any()
        for i, (t, p) in enumerate(sizes):
            own = found[i, :t, :p]
            assert is_monotonic(own) and float((own * value[i, :t, :p]).sum()) == pytest.approx(
                best_sum(value[i, :t, :p]), abs=1e-4
            )


def test_as_many_frames_as_phones_leave_one_way():
    path = maximum_path(torch.randn(2, 40, 40, generator=torch.Generator().manual_seed(0)), torch.ones(2, 40, 40))
    assert torch.equal(path, torch.eye(40).expand(2, 40, 40))


def test_a_text_longer_than_its_sound_is_one_sentence():
    mask = torch.ones(3, 5, 7)
    mask[0, :, 4:] = mask[2, :, 5:] = 0
    with pytest.raises(ValueError, match="item 1 of the batch has 7 symbols and 5 frames, and every symbol needs"):
        maximum_path(torch.zeros(3, 5, 7), mask)
    with pytest.raises(ValueError, match="item 0 of the batch has 0 symbols"):
        maximum_path(torch.zeros(1, 5, 7), torch.zeros(1, 5, 7))


def test_values_that_are_no_numbers_still_give_a_path():
    value = torch.randn(3, 9, 4, generator=torch.Generator().manual_seed(0))
    value[0], value[1, 3:], value[2] = float("nan"), float("nan"), float("-inf")
    assert all(is_monotonic(path) for path in maximum_path(value, torch.ones(3, 9, 4)))


def latents(batch=3, channels=6, frames=12, phones=5, seed=0):
    draws = torch.Generator().manual_seed(seed)
    z, mean = (torch.randn(batch, channels, n, generator=draws) for n in (frames, phones))
    return z, mean, 0.5 * torch.randn(batch, channels, phones, generator=draws)


def test_likelihoods_are_those_of_the_normal_distribution():
    z, mean, log_std = latents()
    normal = Normal(mean.unsqueeze(2), log_std.exp().unsqueeze(2))
    assert torch.allclose(log_likelihoods(z, mean, log_std), normal.log_prob(z.unsqueeze(3)).sum(1), atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(log_likelihoods(z, mean, log_std), log_likelihoods(z, mean, log_std))
        assert log_likelihoods(z.bfloat16(), mean, log_std).dtype == torch.float32


def test_the_search_finds_where_the_phones_are_and_padding_changes_nothing():
    durations = torch.tensor([[3, 1, 4, 2, 2], [1, 1, 1, 1, 8], [2, 2, 1, 2, 0]])
    _, mean, log_std = latents(channels=20)
    z = torch.zeros(3, 20, 12)
    for i, row in enumerate(durations):
        z[i, :, : row.sum()] = mean[i].repeat_interleave(row, dim=1)
    frames = (torch.arange(12) < torch.tensor([[12], [12], [7]])).float().unsqueeze(1)
    phones = (torch.arange(5) < torch.tensor([[5], [5], [4]])).float().unsqueeze(1)
    path = search(z, mean, log_std, frames, phones)
    assert torch.equal(path.sum(1).long(), durations) and not path.requires_grad
    z[2, :, 7:], mean[2, :, 4:] = 100.0, -100.0
    assert torch.equal(search(z, mean, log_std, frames, phones), path)


def test_noise_is_the_generators_and_grows_with_its_scale():
    z, mean, log_std = latents(8, 4, 60, 20)
    masks = torch.ones(8, 1, 60), torch.ones(8, 1, 20)
    plain = search(z, mean, log_std, *masks)
    noisy = lambda scale, seed=1: search(z, mean, log_std, *masks, scale, torch.Generator().manual_seed(seed))  # noqa: E731
    assert torch.equal(noisy(0.1), noisy(0.1)) and not torch.equal(noisy(1.0), noisy(1.0, 2))
    moved = [float((noisy(scale) - plain).abs().sum()) for scale in (1e-6, 0.1, 1.0)]
    assert moved[0] == 0 < moved[1] < moved[2]
    before = torch.random.get_rng_state()
    noisy(0.1)
    assert torch.equal(torch.random.get_rng_state(), before)
