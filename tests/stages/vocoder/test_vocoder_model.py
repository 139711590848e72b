"""Vocoders: the papers' sizes, lengths, folding, the excitation's pitch, minimum phase, learning."""

import math

import pytest
import torch

from stages.core import checkpoint
from stages.core.audio import AudioSpec
from stages.nn.discriminators import DiscriminatorConfig, Discriminators
from stages.nn.hifigan import HifiGanConfig, HifiGanGenerator
from stages.nn.source_filter import SourceFilterConfig, minimum_phase, pulse_train
from stages.vocoder.model import Vocoder, VocoderModelConfig

VERSIONS = {
    "V1": (HifiGanConfig(), 13.94e6),
    "V2": (HifiGanConfig(channels=128), 0.925e6),
    "V3": (HifiGanConfig(256, (8, 8, 4), (16, 16, 8), 2, (3, 5, 7), ((1, 2), (2, 6), (3, 12))), 1.46e6),
}
SMALL = HifiGanConfig(16, (8, 8, 4), (16, 16, 8), 2, (3, 5), ((1, 2), (2, 6)))
TINY = VocoderModelConfig(source_filter=SourceFilterConfig(width=32, depth=1, pitch_width=32, pitch_bins=24))


@pytest.mark.parametrize("version", VERSIONS)
def test_hifigan_has_the_size_of_the_paper(version):
    config, expected = VERSIONS[version]
    model = HifiGanGenerator(config, 80, 256)
    model.fold_weight_norm()
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(expected, rel=0.01)


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 7])
@pytest.mark.parametrize("config", [SMALL, HifiGanConfig(16, (8, 8, 2, 2), (16, 16, 4, 4))])
def test_hifigan_output_length(config, frames):
    out = HifiGanGenerator(config, 80, 256)(torch.randn(2, 80, frames))
    assert out.shape == (2, frames * 256) and out.abs().max() <= 1


def test_rates_must_make_the_hop():
    with pytest.raises(ValueError, match="multiply to 256, but the hop is 300"):
        HifiGanGenerator(SMALL, 80, 300)


@torch.no_grad()
def test_folded_weights_sound_the_same():
    torch.manual_seed(0)
    model, mel = HifiGanGenerator(SMALL, 80, 256).eval(), torch.randn(1, 80, 9)
    before = model(mel)
    model.fold_weight_norm()
    torch.testing.assert_close(model(mel), before, rtol=1e-5, atol=1e-6)
    assert not [name for name in model.state_dict() if "parametrizations" in name]


def test_pulse_train_has_its_pitch_and_stays_below_nyquist():
    rate, hop, pitch = 16000, 256, 125.0
    out = pulse_train(torch.full((1, 64), math.log(pitch)), hop, rate)[0]
    assert out.shape == (64 * hop,) and out.abs().max() < 20 and torch.isfinite(out).all()
    size = 128 * 100  # whole periods
    power = torch.fft.rfft(out[:size].double()).abs().square()
    at_harmonics = power[:: size * 125 // rate][1:]
    assert at_harmonics[:60].sum() / power.sum() > 0.95
    assert at_harmonics[:60].min() / at_harmonics[:60].max() > 0.9  # as strong all the way up
    peaks = (out[1:-1] > out[:-2]) & (out[1:-1] > out[2:]) & (out[1:-1] > 0.8 * out.max())
    assert torch.diff(peaks.nonzero().squeeze(-1)).float().mean() == pytest.approx(rate / pitch, rel=0.01)


def test_gliding_pulse_train_does_not_alias():
    """Every partial of a high pitch lies on a harmonic: folded ones would lie between."""
    out = pulse_train(torch.full((1, 64), math.log(370.0)), 256, 16000)[0, :16000].double()
    power = torch.fft.rfft(out * torch.hann_window(16000, dtype=torch.float64)).abs().square()
    frequency = torch.arange(len(power)).double()
    off = ((frequency / 370.0) - (frequency / 370.0).round()).abs() * 370 > 20
    assert power[off].sum() / power.sum() < 1e-3


def test_minimum_phase_is_causal_and_keeps_the_magnitude():
    frequency = torch.linspace(0, 1, 257)
    log_magnitude = torch.stack((-3 * frequency, -2 * (frequency - 0.3).square() * 10))
    phase = minimum_phase(log_magnitude)
    response = torch.fft.irfft(torch.polar(log_magnitude.exp(), phase))
    energy = response.square()
    assert (energy[:, :128].sum(-1) / energy.sum(-1) > 0.999).all()  # nothing wraps round to negative time
    assert (energy.argmax(-1) < 8).all()
    delayed = torch.fft.irfft(log_magnitude.exp().to(torch.complex64))  # zero phase: half of it lies before time 0
    assert (delayed.square()[:, 256:].sum(-1) > 0.05 * delayed.square().sum(-1)).all()


@torch.no_grad()
def test_source_filter_follows_its_seed_and_the_mel():
    torch.manual_seed(0)
    model, mel = Vocoder(TINY).eval(), torch.randn(2, 12, 80).clamp(-2, 2)
    draw = lambda seed: model(mel, torch.Generator().manual_seed(seed))  # noqa: E731
    assert draw(1).shape == (2, 12 * 256) and torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))
    loud, quiet = model(mel + 0.5, torch.Generator().manual_seed(1)), draw(1)
    ratio = 20 * math.log10(float(loud.norm() / quiet.norm()))
    assert ratio == pytest.approx(20 * math.log10(math.e) * 0.5 * AudioSpec().scale, abs=3)  # the envelope is the mel's


def test_source_filter_learns(tiny_objective, overfit):
    objective = tiny_objective("vocoder")
    first, last = overfit(objective, steps=30, lr=3e-3)
    assert last < 0.85 * first


def test_hifigan_learns(tiny_objective, overfit):
    part = "network={generator: hifigan, hifigan: {channels: 16, rates: [8, 8, 4], kernels: [16, 16, 8], block: 2, "
    part += "block_kernels: [3], block_dilations: [[1, 2]]}}"
    first, last = overfit(tiny_objective("vocoder", part, "objective.frames=16"), steps=40, lr=3e-3)
    assert last < 0.8 * first


def test_discriminators_judge_any_length():
    judges = Discriminators(DiscriminatorConfig((2, 3), 2, 2, 16, ((256, 64),), 2))
    for length in (4096, 4099):
        judged = judges(torch.randn(2, length))
        assert len(judged) == 5 and all(s.shape[0] == 2 and f for s, f in judged)


@torch.no_grad()
def test_saved_and_loaded_sounds_the_same(tmp_path):
    torch.manual_seed(0)
    model = Vocoder(TINY).eval()
    checkpoint.write(tmp_path / "c", model.state_dict(), TINY, {"stage": "vocoder"})
    found = checkpoint.read(tmp_path / "c", "vocoder")
    again = Vocoder(checkpoint.model_config(found, VocoderModelConfig)).eval()
    checkpoint.load_strict(again, found)
    mel = torch.randn(1, 6, 80)
    assert torch.equal(model(mel, torch.Generator().manual_seed(0)), again(mel, torch.Generator().manual_seed(0)))
