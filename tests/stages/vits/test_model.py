"""The whole model: shapes, determinism, batches, conversion, and what refuses to be put together."""

import dataclasses

import pytest
import torch

from stages.core.audio import AudioSpec
from stages.nn.hifigan import HifiGanConfig
from stages.nn.source_filter import SourceFilterConfig
from stages.vits.blocks import RelativeAttention, RelativeEncoder, WaveNet, fold_weight_norm, sequence_mask
from stages.vits.decoder import DecoderConfig, EnvelopeConfig, IstftConfig
from stages.vits.durations import DurationsConfig
from stages.vits.flows import FlowConfig
from stages.vits.model import Controls, Vits, VitsModelConfig, places, spread
from stages.vits.posterior import PosteriorConfig
from stages.vits.text_encoder import TextEncoderConfig, TextInput
from stages.vits.training import VitsTrainingConfig

DECODERS = {
    "hifigan": DecoderConfig("hifigan", hifigan=HifiGanConfig(16, (8, 8, 4), (16, 16, 8), 2, (3,), ((1, 2),))),
    "istft": DecoderConfig("istft", istft=IstftConfig(width=16, depth=1, window=512)),
    "source_filter": DecoderConfig(
        "source_filter",
        envelope=EnvelopeConfig(width=16, depth=1),
        source_filter=SourceFilterConfig(width=16, depth=1, pitch_width=16, pitch_bins=16),
    ),
}


NEAR = {"source_filter": 5e-4}
"""its phase is a sum over the whole sound of a pitch that it reads from the latents"""


def config(decoder="istft", **changes):
    return VitsModelConfig(
        speakers=("a", "b", "c"),
        accents=("x", "y"),
        accent_of={"a": "x", "b": "y", "c": "x"},
        tones=4,
        languages=("en", "de"),
        hidden=16,
        channels=8,
        condition=8,
        text=TextEncoderConfig(filter=24, layers=2, speaker=True),
        posterior=PosteriorConfig(width=16, layers=2),
        flow=FlowConfig(flows=2, width=16, layers=2),
        durations=DurationsConfig(filter=16, deterministic_filter=16),
        decoder=DECODERS[decoder],
        **changes,
    )


def model(decoder="istft", seed=0, **changes):
    torch.manual_seed(seed)
    made = Vits(config(decoder, **changes))
    for value in made.parameters():  # zero-initialised outputs would hide everything
        if value.abs().sum() == 0:
            torch.nn.init.normal_(value, std=0.1)
    return made.eval()


def text(lengths, seed=0):
    draw = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    there = sequence_mask(torch.tensor(lengths), max(lengths))[:, 0].long()
    of = lambda most: torch.randint(1, most, shape, generator=draw) * there  # noqa: E731
    return TextInput(of(40), torch.tensor(lengths), of(4), of(2))


def row(batch, i):
    n = int(batch.lengths[i])
    return TextInput(*(None if v is None else v[i : i + 1, :n] if v.ndim > 1 else v[i : i + 1] for v in
                       (batch.symbols, batch.lengths, batch.tones, batch.languages, batch.bert)))  # fmt: skip


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_batch_of_eight_is_eight_batches_of_one(decoder):
    vits, batch = model(decoder), text([3, 9, 5, 1, 7, 9, 2, 4])
    speakers, accents = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1]), torch.tensor([0, 1, 0, 0, 1, 0, 1, 1])
    steady = Controls(noise_scale=0.0, noise_scale_w=0.0)
    noise = torch.Generator()
    with torch.inference_mode():
        if decoder == "source_filter":  # whose noise source is drawn row by row: one silent for both
            vits.decoder.noisy = False
            speak = vits.decoder.forward
            hop = vits.config.audio.hop
            vits.decoder.forward = lambda z, c, n: speak(z, c, torch.zeros(len(z), z.shape[2] * hop))
        together = vits.synthesise(batch, speakers, accents, steady, noise)
        for i, sound in enumerate(together):
            alone = vits.synthesise(row(batch, i), speakers[i : i + 1], accents[i : i + 1], steady, noise)[0]
            assert alone.shape == sound.shape
            assert torch.allclose(alone, sound, atol=NEAR.get(decoder, 1e-5)), float((alone - sound).abs().max())


@pytest.mark.parametrize("decoder", DECODERS)
def test_sound_is_whole_frames_and_the_seed_decides_it(decoder):
    vits, batch = model(decoder), text([6])
    who = torch.tensor([1])
    with torch.inference_mode():
        of = lambda seed: vits.synthesise(batch, who, who, Controls(), torch.Generator().manual_seed(seed))[0]  # noqa: E731
        first, again, other = of(1), of(1), of(2)
    assert first.ndim == 1 and len(first) % vits.config.audio.hop == 0 and torch.isfinite(first).all()
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_each_control_does_what_it_says():
    vits, batch, who = model(), text([12]), torch.tensor([0])
    with torch.inference_mode():

        def frames(seed=0, speaker=who, **controls):
            asked = Controls(**controls)
            condition = vits.condition(speaker, who)
            prior = vits.encode_text(batch, condition)
            logs = vits.log_durations(prior, condition, asked, torch.Generator().manual_seed(seed))
            return vits.frames(logs, prior.mask, asked.speed)

        assert frames(speed=0.25).sum() > frames(speed=1.0).sum() >= frames(speed=4.0).sum()
        steady = dict(noise_scale_w=0.0, speed=0.2)
        assert torch.equal(frames(1, **steady), frames(2, **steady))
        loose = dict(noise_scale_w=2.0, sdp_ratio=1.0, speed=0.05)
        assert not torch.equal(frames(1, **loose), frames(2, **loose))
        plain = dict(sdp_ratio=0.0, noise_scale_w=2.0, speed=0.05)
        assert torch.equal(frames(1, **plain), frames(2, **plain))
        assert not torch.equal(frames(speaker=torch.tensor([1]), speed=0.01), frames(speed=0.01))


def test_speaker_accent_tone_and_language_are_all_heard():
    vits, batch = model(), text([7])
    asked, draw = Controls(noise_scale=0.0, sdp_ratio=0.0, speed=0.1), torch.Generator()
    with torch.inference_mode():
        say = lambda b, s, a: vits.synthesise(b, torch.tensor([s]), torch.tensor([a]), asked, draw)[0]  # noqa: E731
        base = say(batch, 0, 0)
        others = [say(batch, 1, 0), say(batch, 0, 1)]
        others.append(say(dataclasses.replace(batch, tones=1 + batch.tones % 3), 0, 0))
        others.append(say(dataclasses.replace(batch, languages=1 - batch.languages), 0, 0))
    for other in others:
        assert other.shape != base.shape or not torch.allclose(other, base, atol=1e-4)


def test_nearest_rounding_keeps_the_tempo_and_leaves_no_phone_out():
    vits = model(rounding="nearest")
    exact = torch.rand(4, 1, 50, generator=torch.Generator().manual_seed(0)) * 6 + 1.0
    mask = sequence_mask(torch.tensor([50, 40, 7, 1]), 50)
    frames = vits.frames(exact.log(), mask, 1.0)
    assert (frames >= mask[:, 0]).all() and (frames[mask[:, 0] == 0] == 0).all()
    assert ((frames.sum(1) - (exact * mask).sum((1, 2))).abs() <= 3).all()


def test_conversion_to_oneself_is_the_reconstruction_and_to_another_is_not():
    vits = model()
    audio = torch.randn(1, 256 * 20, generator=torch.Generator().manual_seed(0)) * 0.1
    a, b = vits.condition(torch.tensor([0]), torch.tensor([0])), vits.condition(torch.tensor([1]), torch.tensor([0]))
    with torch.inference_mode():
        draw = torch.Generator()
        spectrogram = vits.spectrogram(audio)
        mean, _ = vits.posterior(spectrogram, torch.ones(1, 1, 20), a)
        own = vits.decoder(mean, a)[0]
        assert torch.allclose(vits.convert(audio, a, a, draw), own, atol=1e-4)
        assert not torch.allclose(vits.convert(audio, a, b, draw), own, atol=1e-3)
        assert len(own) == 256 * 20


def test_places_and_spread():
    frames = torch.tensor([[2, 0, 3, 1], [1, 1, 0, 0]])
    assert places(frames, 6).tolist() == [[0, 0, 2, 2, 2, 3], [0, 1, 1, 1, 1, 1]]
    values = torch.arange(8.0).view(2, 1, 4)
    assert spread(values, frames, 6)[0, 0].tolist() == [0, 0, 2, 2, 2, 3]


def test_relative_attention_is_the_plain_sum():
    torch.manual_seed(0)
    attention = RelativeAttention(8, 2, 3, 0.0).eval()
    for s in (1, 2, 5, 11):
        x = torch.randn(2, s, 8)
        keep = sequence_mask(torch.tensor([s, max(1, s - 2)]), s).bool().unsqueeze(1)
        q, k, v = attention.qkv(x).view(2, s, 3, 2, 4).permute(2, 0, 3, 1, 4)
        want = torch.zeros(2, 2, s, 4)
        for i in range(s):
            near = [j - i + 3 for j in range(s)]
            key = torch.stack([attention.key_offsets[o] if 0 <= o < 7 else torch.zeros(4) for o in near])
            value = torch.stack([attention.value_offsets[o] if 0 <= o < 7 else torch.zeros(4) for o in near])
            score = (q[:, :, i, None] * (k + key)).sum(-1) / 2.0
            weight = score.masked_fill(~keep[:, 0], -1e30).softmax(-1)
            want[:, :, i] = (weight.unsqueeze(-1) * (v + value)).sum(2)
        assert torch.allclose(attention(x, keep), attention.out(want.transpose(1, 2).reshape(2, s, 8)), atol=1e-5)


def test_padding_and_folding_change_nothing():
    torch.manual_seed(0)
    encoder, wavenet = RelativeEncoder(16, 24, 2, 3, 3, 0.1, 4, 8).eval(), WaveNet(16, 5, 2, 3, 8).eval()
    x, condition = torch.randn(1, 16, 12), torch.randn(1, 8, 1)
    short, mask = torch.ones(1, 1, 7), sequence_mask(torch.tensor([7]), 12)
    for block in (encoder, wavenet):
        want = block(x[:, :, :7], short, condition)
        assert torch.allclose(block(x * mask, mask, condition)[:, :, :7], want, atol=1e-5)
        fold_weight_norm(block)
        assert torch.allclose(block(x[:, :, :7], short, condition), want, atol=1e-5)


def test_word_vectors_and_the_network_go_together():
    plain, heard = model(), model(bert=6)
    batch = text([4])
    with pytest.raises(ValueError, match="hears word vectors"):
        heard.encode_text(batch, None)
    with pytest.raises(ValueError, match="hears no word vectors"):
        plain.encode_text(dataclasses.replace(batch, bert=torch.zeros(1, 4, 6)), None)
    heard.encode_text(dataclasses.replace(batch, bert=torch.zeros(1, 4, 6)), None)


@pytest.mark.parametrize(
    ("of", "change", "message"),
    [
        (VitsModelConfig, {"hidden": 0}, "hidden is 0; give 1 or more"),
        (VitsModelConfig, {"tones": 2}, "tones is 2; give 4"),
        (VitsModelConfig, {"speakers": ("a", "a")}, r"speakers names one twice \(a, a\)"),
        (VitsModelConfig, {"speakers": ("a", "b"), "condition": 0}, "condition is 0; give 1 or more"),
        (
            VitsModelConfig,
            {"speakers": ("a", "b"), "accents": ("x", "y"), "accent_of": {"a": "x"}},
            "accent_of lacks 'b'",
        ),
        (TextEncoderConfig, {"heads": 0}, "heads is 0"),
        (TextEncoderConfig, {"window": -1}, "window is -1; give 0 or more"),
        (PosteriorConfig, {"kernel": 4}, "kernel is 4; give an odd number"),
        (FlowConfig, {"kernel": 4}, "kernel is 4; give an odd number"),
        (FlowConfig, {"kind": "transformer", "heads": 0}, "heads is 0"),
        (IstftConfig, {"depth": 0}, "depth is 0"),
        (HifiGanConfig, {"kernels": (16, 16, 4)}, "as many entries"),
        (HifiGanConfig, {"kernels": (16, 16, 4, 5)}, "an even number more"),
        (HifiGanConfig, {"block_kernels": (3, 7, 4)}, "odd numbers"),
        (HifiGanConfig, {"block": 3}, "block is 3"),
        (HifiGanConfig, {"channels": 8}, "channels is 8"),
        (VitsTrainingConfig, {"segment": 0}, "segment is 0"),
        (VitsTrainingConfig, {"mel_weight": -1.0}, "mel_weight is -1; give 0 or more"),
        (VitsTrainingConfig, {"prior_share": 1.5}, "prior_share is 1.5"),
    ],
)
def test_absurd_sizes_are_refused(of, change, message):
    with pytest.raises(ValueError, match=message):
        of(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rounding": "down"}, "unknown rounding"),
        ({"channels": 7}, "even number"),
        ({"accent_of": {"a": "z"}}, "must be among"),
        ({"languages": ()}, "languages is empty"),
        ({"decoder": DecoderConfig("istft", istft=IstftConfig(window=500))}, "multiple"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Vits(dataclasses.replace(config(), **change))


@pytest.mark.parametrize("spoilt", [float("nan"), 60.0, 1e9])
def test_durations_that_no_phone_has_are_an_error(spoilt):
    vits = model()
    torch.nn.init.constant_(vits.deterministic.after.bias, spoilt)
    with torch.inference_mode(), pytest.raises(ValueError, match="a phone would last .* the checkpoint is spoilt"):
        vits.synthesise(text([4]), torch.tensor([0]), torch.tensor([0]), Controls(), torch.Generator())


def test_a_model_of_one_voice_has_no_tables():
    one = Vits(dataclasses.replace(config(), speakers=("a",), accents=(), accent_of={}))
    assert one.speakers is None and one.condition(torch.tensor([0])) is None
    assert VitsModelConfig().conditioned == 0 and VitsModelConfig(audio=AudioSpec()).audio.hop == 256
