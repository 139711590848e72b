"""Duration predictors: equal to transformers', invertible, indifferent to padding, and they learn."""

import pytest
import torch
from transformers import VitsConfig
from transformers.models.vits import modeling_vits as published

from stages.vits.durations import DurationFlow, DurationPredictor, DurationsConfig, StochasticDurationPredictor
from stages.vits.huggingface_names import sources
from stages.vits.model import VitsModelConfig

CONFIG = DurationsConfig(filter=16, deterministic_filter=24, stochastic_dropout=0.0, dropout=0.0)
WIDTH, CONDITION, PHONES = 16, 6, 13


def copied(module, theirs, part):
    """Copies transformers' weights into `module`, the `part` of a Vits: all of them and every one."""
    weights = theirs.state_dict()
    names = sources(VitsModelConfig(durations=CONFIG))
    module.load_state_dict(  # their convolutions of kernel 1 are linear layers here
        {
            name: weights.pop(names[f"{part}.{name}"][0].removeprefix("duration_predictor.")).view_as(own)
            for name, own in module.state_dict().items()
        }
    )
    assert not weights
    return module.eval()


def randomised(module, seed=0, size=0.3):
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws) * size)
    return module.eval()


def their_config(condition):
    return VitsConfig(
        hidden_size=WIDTH,
        speaker_embedding_size=condition,
        duration_predictor_filter_channels=CONFIG.deterministic_filter,
        duration_predictor_dropout=0.0,
    )


def inputs(batch=3, seed=1):
    """hidden, mask, whole durations and a condition; the rows are of different lengths."""
    draws = torch.Generator().manual_seed(seed)
    mask = (torch.arange(PHONES) < torch.tensor([PHONES - 4 * i for i in range(batch)]).view(-1, 1, 1)).float()
    hidden = torch.randn(batch, WIDTH, PHONES, generator=draws) * mask
    durations = torch.randint(1, 30, (batch, 1, PHONES), generator=draws) * mask
    return hidden, mask, durations, torch.randn(batch, CONDITION, 1, generator=draws)


def noise_for(mask, seed=2):
    return torch.randn(len(mask), 2, mask.shape[-1], generator=torch.Generator().manual_seed(seed))


class Turned(torch.nn.Module):
    """Undoes the flip that transformers' forward makes after the affine map: the published flow has none there, nor
    has transformers' own way back."""

    def __init__(self, affine):
        super().__init__()
        self.affine = affine

    def forward(self, *arguments, **options):
        pair, slopes = self.affine(*arguments, **options)
        return pair.flip(1), slopes


@pytest.mark.parametrize("condition", [0, CONDITION])
def test_stochastic_predictor_equals_transformers(condition, monkeypatch):
    theirs = randomised(published.VitsStochasticDurationPredictor(their_config(condition)))
    ours = copied(StochasticDurationPredictor(CONFIG, WIDTH, condition), theirs, "stochastic")
    hidden, mask, durations, heard = inputs()
    heard = heard if condition else None
    noise = noise_for(mask)
    monkeypatch.setattr(torch, "randn", lambda *_: noise)
    with torch.no_grad():
        for scale in (0.0, 0.8):
            expected = theirs(hidden, mask, heard, reverse=True, noise_scale=scale)
            assert torch.allclose(ours.sample(hidden, mask, noise * scale, heard), expected, atol=1e-5)
        theirs.flows[0], theirs.post_flows[0] = Turned(theirs.flows[0]), Turned(theirs.post_flows[0])
        expected = theirs(hidden, mask, heard, durations)
        bound = ours.bound(hidden, mask, durations, noise, heard)
    assert torch.allclose(bound, expected, rtol=1e-5) and (expected > 0).all()


@pytest.mark.parametrize("condition", [0, CONDITION])
def test_deterministic_predictor_equals_transformers(condition):
    theirs = randomised(published.VitsDurationPredictor(their_config(condition)))
    ours = copied(DurationPredictor(CONFIG, WIDTH, condition), theirs, "deterministic")
    hidden, mask, _, heard = inputs()
    with torch.no_grad():
        expected = theirs(hidden, mask, heard if condition else None)
        assert torch.allclose(ours(hidden, mask, heard if condition else None), expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_flow_is_invertible_and_saying_needs_all_but_its_first_coupling(seed):
    flow = randomised(DurationFlow(CONFIG), seed, 0.2)
    hidden, mask, _, _ = inputs(seed=seed)
    heard = hidden.transpose(1, 2)
    pair = noise_for(mask, seed) * 3 * mask
    with torch.no_grad():
        there, slopes = flow(pair, mask, heard)
        back = flow.inverse(there, mask, heard)
        assert (back - pair).abs().max() < 1e-4 and (there - pair).abs().max() > 0.1
        assert torch.allclose(flow.inverse(there, mask, heard, whole=False)[:, :1], back[:, :1], atol=1e-6)
    one = [t.double() for t in (pair[:1, :, :3], mask[:1, :, :3], heard[:1, :3])]
    jacobian = torch.autograd.functional.jacobian(lambda v: flow.double()(v, *one[1:])[0], one[0]).reshape(6, 6)
    assert torch.allclose(torch.linalg.slogdet(jacobian)[1], flow(*one)[1][0], atol=1e-6)


@pytest.fixture
def predictors():
    torch.manual_seed(0)
    pair = (StochasticDurationPredictor(CONFIG, WIDTH, CONDITION), DurationPredictor(CONFIG, WIDTH, CONDITION))
    return [randomised(predictor) for predictor in pair]


def test_padding_and_neighbours_change_nothing(predictors):
    stochastic, plain = predictors
    hidden, mask, durations, heard = inputs()
    noise, junk = noise_for(mask), (1 - mask) * 9
    calls = (
        lambda h, m, d, n, c: stochastic.sample(h, m, n, c),
        lambda h, m, d, n, c: stochastic.bound(h, m, d, n, c),
        lambda h, m, d, n, c: plain(h, m, c),
    )
    with torch.no_grad():
        for call in calls:
            whole = call(hidden + junk, mask, durations, noise + junk, heard)
            for i in range(3):
                part, there = slice(i, i + 1), slice(int(mask[i].sum()))
                alone = call(*(t[part, :, there] for t in (hidden, mask, durations, noise)), heard[part])
                row = whole[part] if whole.ndim == 1 else whole[part, :, there]
                assert torch.allclose(row, alone, atol=1e-5, rtol=1e-5)
                assert whole.ndim == 1 or not whole[i, :, there.stop :].any()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_and_its_gradients_are_finite(predictors, kind):
    hidden, mask, durations, heard = inputs()
    draw = lambda: predictors[0].loss(hidden, mask, durations, heard, torch.Generator().manual_seed(1))  # noqa: E731
    with torch.autocast("cpu", kind):
        half = draw()
    half.backward()
    assert half.dtype == torch.float32 and torch.allclose(half, draw(), rtol=0.02)
    assert all(p.grad.isfinite().all() for p in predictors[0].parameters())


def test_the_generator_decides_and_no_noise_is_steady(predictors):
    hidden, mask, durations, heard = inputs()
    draw = lambda seed: predictors[0].loss(hidden, mask, durations, heard, torch.Generator().manual_seed(seed))  # noqa: E731
    one, again, other = (draw(seed) for seed in (1, 1, 2))
    assert one == again and one != other
    with torch.no_grad():
        steady = [predictors[0].sample(hidden, mask, torch.zeros(3, 2, PHONES), heard) for _ in range(2)]
        drawn = predictors[0].sample(hidden, mask, noise_for(mask), heard)
    assert torch.equal(*steady) and not torch.equal(steady[0], drawn)


def test_both_learn_a_few_durations():
    """The durations follow from the hidden states, so that what is drawn comes close to them."""
    torch.manual_seed(0)
    small = DurationsConfig(filter=16, stochastic_dropout=0.0, dropout=0.0, flows=2, bins=6, dds_layers=1)
    hidden, mask, durations, heard = inputs()
    stochastic = StochasticDurationPredictor(small, WIDTH, CONDITION)
    plain = DurationPredictor(small, WIDTH, CONDITION)
    optimizer = torch.optim.Adam([*stochastic.parameters(), *plain.parameters()], lr=2e-2)
    draws, bounds, aims = torch.Generator().manual_seed(0), [], durations.clamp_min(1).log()
    for _ in range(60):
        optimizer.zero_grad()
        bound = stochastic.loss(hidden, mask, durations, heard, draws)
        wrong = ((plain(hidden, mask, heard) - aims) * mask).square().sum() / mask.sum()
        (bound + wrong).backward()
        assert all(p.grad.isfinite().all() for p in (*stochastic.parameters(), *plain.parameters()))
        optimizer.step()
        bounds.append(float(bound.detach()))
    with torch.no_grad():
        drawn = stochastic.sample(hidden, mask, noise_for(mask) * 0.5, heard)
    there = mask.bool()
    error = float((drawn - aims)[there].abs().mean())
    assert sum(bounds[-10:]) / 10 < bounds[0] - 1.5 and wrong < 0.02 and error < 0.4, (
        bounds[0],
        bounds[-1],
        wrong,
        error,
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"stochastic": False, "deterministic": False}, "nothing predicts them; set stochastic or deterministic"),
        ({"kernel": 4}, "durations.kernel is 4; give an odd number"),
        ({"filter": 0}, "durations.filter is 0; give 1 or more"),
        ({"dropout": 1.0}, "durations.dropout is 1; give 0 to less than 1"),
        ({"flows": 1}, "durations.flows is 1; give 2 or more"),
        ({"bins": 1}, "durations.bins is 1; give 2 to 100"),
        ({"tail": 0.0}, "durations.tail is 0; give a number above 0"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(values, said):
    with pytest.raises(ValueError, match=said):
        DurationsConfig(**values)
