"""Flow matching: identities of the path, samplers against a known flow, guidance, learning."""

from dataclasses import replace

import pytest
import torch

from stages.core import checkpoint
from stages.diffusion.model import DiffusionModelConfig, DiffusionNetwork, PriorConfig
from stages.diffusion.sampler import SAMPLERS, guided
from stages.diffusion.schedule import interpolate, time_grid, velocity

PRIOR = PriorConfig(width=32, depth=1, levels=(4, 3, 3), voice_width=32)
TINY = DiffusionModelConfig(prior=PRIOR, width=32, depth=2, time_width=16)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = DiffusionNetwork(TINY).eval()
    torch.nn.init.normal_(network.outputs.weight, std=0.1)
    torch.nn.init.normal_(network.nothing)
    return network


def test_path_runs_from_data_to_noise_along_its_velocity():
    data, noise = torch.randn(2, 3, 5, 4)
    at = lambda s: interpolate(data, noise, torch.full((3,), s))  # noqa: E731
    torch.testing.assert_close(at(0.0), data)
    torch.testing.assert_close(at(1.0), noise)
    torch.testing.assert_close(at(0.7) - at(0.3), 0.4 * velocity(data, noise))


@pytest.mark.parametrize("steps", [1, 2, 6, 20])
@pytest.mark.parametrize("sway", [-1.0, 0.0])
def test_time_grid_falls_from_one_to_zero(steps, sway):
    grid = time_grid(steps, sway)
    assert len(grid) == steps + 1 and grid[0] == 1 and grid[-1] == 0 and (grid.diff() < 0).all()
    if sway < 0 and steps > 2:  # short steps near the noise
        assert -grid.diff()[0] < -grid.diff()[-1]


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_straight_flow_is_solved_exactly(name, steps):
    data, noise = torch.randn(2, 1, 5, 4)
    calls = []
    out = SAMPLERS[name](lambda x, sigma: calls.append(sigma) or velocity(data, noise), noise, steps)
    torch.testing.assert_close(out, data, rtol=1e-3, atol=2e-3)
    assert len(calls) == steps and calls[0] == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize(("name", "most"), [("euler", 0.05), ("midpoint", 0.01), ("unipc", 0.02)])
def test_curved_flow_of_a_gaussian_is_solved(name, most):
    """Data N(mean, 0.5²): the velocity is known in closed form, and so is where every noise must land."""
    mean, spread = 1.5, 0.5

    def oracle(x, sigma):
        variance = (1 - sigma) ** 2 * spread**2 + sigma**2
        gain = (sigma - (1 - sigma) * spread**2) / variance
        return -mean + gain * (x - (1 - sigma) * mean)

    noise = torch.randn(1, 50, 4, generator=torch.Generator().manual_seed(0))
    out = SAMPLERS[name](oracle, noise, 40)
    assert (out - (mean + spread * noise)).abs().mean() < most


@torch.no_grad()
def test_guidance_in_one_call_is_two_calls(network):
    codes, x = torch.randint(0, 36, (2, 10)), torch.randn(2, 20, 80)
    voice = network.voice(torch.randn(2, 60, 80))
    condition = network.condition(codes, voice)
    nothing, sigma = network.unconditional(condition), torch.full((2,), 0.4)
    calls = []
    out = guided(lambda *a: calls.append(1) or network(*a), 2.5, condition, voice, nothing)(x, 0.4)
    assert calls == [1]
    free, bound = network(x, sigma, nothing, voice), network(x, sigma, condition, voice)
    torch.testing.assert_close(out, free + 2.5 * (bound - free), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(guided(network, 1.0, condition, voice, nothing)(x, 0.4), bound)


@torch.no_grad()
def test_shapes_and_rows_are_strangers(network):
    codes, x, reference = torch.randint(0, 36, (3, 7)), torch.randn(3, 14, 80), torch.randn(3, 60, 80)
    voice = network.voice(reference)
    condition = network.condition(codes, voice)
    whole = network(x, torch.tensor([0.1, 0.5, 0.9]), condition, voice)
    assert whole.shape == (3, 14, 80) and condition.shape == (3, 14, 32 + 80)
    one = network(x[1:2], torch.tensor([0.5]), network.condition(codes[1:2], voice[1:2]), network.voice(reference[1:2]))
    torch.testing.assert_close(whole[1:2], one, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_phones_are_heard_where_they_are_known():
    torch.manual_seed(0)
    network = DiffusionNetwork(replace(TINY, phones=5)).eval()
    codes, voice = torch.randint(0, 36, (1, 40)), torch.randn(1, 32)
    unknown, silent = torch.zeros_like(codes), network.condition(codes, voice)
    phones = unknown.index_fill(1, torch.tensor([20]), 3)
    assert torch.equal(network.condition(codes, voice, phones), silent)  # it starts as the prior alone
    torch.nn.init.normal_(network.phones.weight)
    assert torch.equal(network.condition(codes, voice, unknown), network.condition(codes, voice))
    changed = (network.condition(codes, voice, phones) != network.condition(codes, voice)).any(-1)[0]
    assert changed[40:42].all() and not changed[:10].any() and not changed[-10:].any()


@torch.no_grad()
def test_a_prior_that_is_right_is_the_whole_velocity():
    """Without what is learned, and with the mel itself as the prior's, the closed form is noise - data."""
    network = DiffusionNetwork(replace(TINY, prior_error=1e-4)).eval()
    data, noise, sigma = torch.randn(2, 6, 80), torch.randn(2, 6, 80), torch.tensor([0.2, 0.9])
    condition = torch.cat((torch.randn(2, 6, 32), data), dim=-1)
    out = network(interpolate(data, noise, sigma), sigma, condition, torch.randn(2, 32))
    torch.testing.assert_close(out, velocity(data, noise), rtol=1e-3, atol=1e-3)


def test_the_prior_starts_as_the_tokenizers_decoder_and_trains_on(tiny_objective, tiny_codes, overfit):
    objective = tiny_objective("diffusion")
    tokenizer = checkpoint.read(tiny_codes, "codes").tensors
    assert all(torch.equal(v, tokenizer[k]) for k, v in objective.model.prior.state_dict().items())
    overfit(objective, steps=2)
    assert not torch.equal(objective.model.prior.up.weight, tokenizer["up.weight"])


def test_overfits_one_batch(tiny_objective, overfit):
    first, last = overfit(tiny_objective("diffusion"), steps=120, lr=5e-3)
    assert last < 0.8 * first


@torch.no_grad()
def test_saved_and_loaded_gives_the_same_velocity(network, tmp_path):
    checkpoint.write(tmp_path / "c", network.state_dict(), TINY, {"stage": "diffusion"})
    found = checkpoint.read(tmp_path / "c", "diffusion")
    again = DiffusionNetwork(checkpoint.model_config(found, DiffusionModelConfig)).eval()
    checkpoint.load_strict(again, found)
    arguments = torch.randn(1, 8, 80), torch.tensor([0.3]), torch.randn(1, 8, 112), torch.randn(1, 32)
    assert torch.equal(network(*arguments), again(*arguments))
