"""Discriminators: shapes of every kind, any length that is long enough, gradients to every weight and to the signal."""

import pytest
import torch
from torch import nn

from stages.nn.discriminators import DiscriminatorConfig, Discriminators

VITS = DiscriminatorConfig(periods=(), scales=1, scale_kind="vits", spectra=())
SMALL = {
    "periods": DiscriminatorConfig(periods=(2, 3, 7), period_width=2, scales=0, spectra=()),
    "hifigan": DiscriminatorConfig(periods=(), scales=3, scale_width=16, spectra=()),
    "vits": DiscriminatorConfig(periods=(), scales=1, scale_width=8, scale_kind="vits", spectra=()),
    "spectra": DiscriminatorConfig(periods=(), scales=0, spectra=((64, 16), (32, 8)), spectrum_width=2),
}


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("length", [240, 241, 251])
def test_any_length_is_judged_and_gradients_reach_all(kind, length):
    torch.manual_seed(0)
    judges = Discriminators(SMALL[kind])
    sound = torch.randn(2, length, requires_grad=True)
    judged = judges(sound)
    assert len(judged) == len(judges.judges)
    assert all(s.ndim == 2 and len(s) == 2 and f and all(len(x) == 2 for x in f) for s, f in judged)
    sum(s.square().mean() + sum(x.abs().mean() for x in f) for s, f in judged).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in judges.parameters())
    assert sound.grad.abs().min() >= 0 and (sound.grad != 0).float().mean() > 0.9


@torch.no_grad()
def test_the_papers_sizes():
    """VITS: 46.75 M parameters with the five periods; its layers are MelGAN's, without pooling or spectral norm."""
    period = Discriminators(DiscriminatorConfig(periods=(2,), scales=0, spectra=()))
    hifigan = Discriminators(DiscriminatorConfig(periods=(2,), period_width=1, scale_width=16, spectra=()))
    scale = Discriminators(VITS)
    ((_, features),) = scale(torch.zeros(1, 8192))
    count = [sum(p.numel() for p in part.parameters()) for part in (scale, period)]
    assert count[0] + 5 * count[1] == 46_747_132
    assert [tuple(f.shape[1:]) for f in features] == [
        (16, 8192), (64, 2048), (256, 512), (1024, 128), (1024, 32), (1024, 32)
    ]  # fmt: skip
    spectral = [any("_SpectralNorm" in type(m).__name__ for m in judge.modules()) for judge in hifigan.judges]
    assert spectral == [False, True, False, False]


@torch.no_grad()
def test_a_period_sees_every_so_maniest_sample():
    """Columns do not mix: a change of one sample changes the scores of its own column alone."""
    torch.manual_seed(0)
    judges = Discriminators(DiscriminatorConfig(periods=(3,), period_width=1, scales=0, spectra=()))
    sound = torch.randn(1, 96)
    other = sound.clone()
    other[0, 50] += 1.0
    (a, _), (b, _) = judges(sound)[0], judges(other)[0]
    changed = (a != b).view(-1, 3).any(0)
    assert changed.tolist() == [i == 50 % 3 for i in range(3)]


@torch.no_grad()
@pytest.mark.parametrize(
    ("config", "shortest"),
    [
        (SMALL["periods"], 7),
        (SMALL["spectra"], 33),
        (SMALL["vits"], 1),
        (DiscriminatorConfig(period_width=1, scale_width=16), 1025),
    ],
)
def test_a_signal_that_is_too_short_is_one_sentence(config, shortest):
    judges = Discriminators(config)
    assert config.shortest == shortest and judges(torch.randn(1, shortest))
    if shortest > 1:
        with pytest.raises(ValueError, match=rf"given {shortest - 1} samples and need {shortest}; make the segment"):
            judges(torch.randn(1, shortest - 1))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scale_kind": "melgan"}, "unknown scale_kind 'melgan'; known: hifigan, vits"),
        ({"periods": (), "scales": 0, "spectra": ()}, "no discriminator is named; give"),
        ({"periods": (0,)}, "periods are 1 or more"),
        ({"scale_width": 24}, "scale_width is 24; give a multiple of 16"),
        ({"scale_width": 12, "scale_kind": "vits"}, "give a multiple of 8"),
    ],
)
def test_what_does_not_fit_is_said(settings, said):
    with pytest.raises(ValueError, match=said):
        DiscriminatorConfig(**settings)


def test_one_batch_of_two_is_two_of_one():
    torch.manual_seed(0)
    for config in SMALL.values():
        judges: nn.Module = Discriminators(config).eval()
        sound = torch.randn(2, 250)
        both = judges(sound)
        for i in range(2):
            for (s, f), (one, own) in zip(both, judges(sound[i : i + 1]), strict=True):
                assert torch.allclose(s[i : i + 1], one, atol=1e-5)
                assert all(torch.allclose(x[i : i + 1], y, atol=1e-5) for x, y in zip(f, own, strict=True))
