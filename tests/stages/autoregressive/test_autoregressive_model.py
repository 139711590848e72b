"""The decoder: one step at a time is teacher forcing, padding is nothing, nothing looks ahead, and it learns."""

import pytest
import torch

from stages.autoregressive.faults import find_faults
from stages.autoregressive.model import AutoregressiveDecoder, AutoregressiveModelConfig
from stages.core import checkpoint

TINY = AutoregressiveModelConfig(codes=36, width=32, depth=2, heads=2, latents=2, conditioning_width=32, phone_depth=1)
PHONES = [1, 5, 9, 20, 7, 1]


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = AutoregressiveDecoder(TINY).eval()
    with torch.no_grad():  # GPT-2's small initial weights would hide differences
        for p in model.parameters():
            p.mul_(3)
    return model


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(1)
    previous = torch.cat((torch.tensor([[36]]), torch.randint(0, 36, (1, 7), generator=generator)), 1)
    return (
        torch.tensor([PHONES]),
        torch.randn(1, 60, 80, generator=generator),
        previous,
        torch.tensor([[0, 0, 1, 2, 3, 3, 4, 5]]),
    )


@torch.no_grad()
def test_step_by_step_is_teacher_forcing(model, inputs):
    phones, reference, previous, pointers = inputs
    codes, moves = model(*inputs)
    prompt = model.prefill(phones, model.voice_latents(reference))
    cache = model.slots(slots=2, rows=3, capacity=prompt.cache.length + 8)
    cache.load(1, prompt.cache)
    for n in range(8):
        code, move = model.step(previous[0, n].expand(6), prompt.pointed[pointers[0, n]].expand(6, -1), cache)
        torch.testing.assert_close(code[3:], codes[:, n].expand(3, -1), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(move[3:], moves[:, n].expand(3, -1), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_padded_phones_and_codes_do_not_matter(model, inputs):
    phones, reference, previous, pointers = inputs
    alone = model(*inputs)
    other = torch.tensor([[1, 8, 8, 8, 8, 8, 8, 8, 8, 1]])
    pad = lambda x, n: torch.nn.functional.pad(x, (0, n - x.shape[1]))  # noqa: E731
    batch = model(
        torch.cat((pad(phones, 10), other)), reference.expand(2, -1, -1),
        torch.cat((pad(previous, 12), torch.full((1, 12), 3))),
        torch.cat((pad(pointers, 12), torch.zeros(1, 12, dtype=torch.long))),
    )  # fmt: skip
    for one, many in zip(alone, batch, strict=True):
        torch.testing.assert_close(one[0], many[0, :8], rtol=1e-4, atol=1e-4)


def test_nothing_looks_at_later_codes(model, inputs):
    seen = {}
    model.code_table.register_forward_hook(lambda _, __, out: seen.setdefault("x", out.requires_grad_()))
    codes, _ = model(*inputs)
    (gradient,) = torch.autograd.grad(codes[0, 3].square().sum(), seen["x"])
    reached = gradient[0].abs().sum(-1) > 0
    assert reached[:4].all() and not reached[4:].any()


def test_faults_are_marked():
    phones = [1, *range(5, 15), 1]
    places = [p for p in range(12) for _ in range(3)]
    codes = list(range(36))
    assert find_faults(codes, places, phones, True) == ()
    assert "truncated" in find_faults(codes, places, phones, False)
    assert "truncated" in find_faults(codes[:9], places[:9], phones, True)
    assert "loop" in find_faults([1, 2, 3, 4] * 9, places, phones, True)
    assert "too_short" in find_faults(codes[:8], [0, 3, 6, 9, 10, 11, 11, 11], phones, True)


def test_overfits_one_batch(tiny_objective, overfit):
    first, last = overfit(tiny_objective("autoregressive", "objective.corruption=0.0"), steps=120, lr=5e-3)
    assert last < 0.6 * first


def test_targets_end_by_leaving_the_last_phone(tiny_objective):
    objective = tiny_objective("autoregressive")
    batch = objective.batch(0)
    for row in range(len(batch["phones"])):
        n, p = int((batch["codes"][row] >= 0).sum()), int((batch["phones"][row] > 0).sum())
        assert int(batch["pointers"][row, n - 1] + batch["moves"][row, n - 1]) >= p - 3
        assert torch.equal(batch["pointers"][row, 1:n], batch["pointers"][row, : n - 1] + batch["moves"][row, : n - 1])


@torch.no_grad()
def test_saved_and_loaded_gives_the_same_logits(model, inputs, tmp_path):
    checkpoint.write(tmp_path / "c", model.state_dict(), TINY, {"stage": "autoregressive"})
    found = checkpoint.read(tmp_path / "c", "autoregressive")
    again = AutoregressiveDecoder(checkpoint.model_config(found, AutoregressiveModelConfig)).eval()
    checkpoint.load_strict(again, found)
    assert all(torch.equal(a, b) for a, b in zip(model(*inputs), again(*inputs), strict=True))
