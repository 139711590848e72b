"""Voice conversion: any length in windows that leave no seam, who is asked for and refused; on tiny random weights."""

import re

import numpy as np
import pytest
import soundfile
import tinyvits
import torch

from stages.core import voices
from stages.core.audio import AudioError
from stages.core.checkpoint import CheckpointError
from stages.core.config import ConfigError
from stages.core.route import load_route
from stages.vits import conversion


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of rms, slt and one who is no named voice."""
    return tinyvits.write(tmp_path_factory.mktemp("vits") / "checkpoint", speakers=["rms", "slt", "p225"])


@pytest.fixture
def plan(folder):
    """Gives `plan(voice, source, *sets)`."""
    return lambda voice, source="", *sets: conversion.plan(
        load_route("vits", sets=[f"vits.checkpoint={folder}", *sets]), voice, source
    )


def clip(path, seconds=1.0, rate=16000):
    noise = np.random.default_rng(1).normal(0, 0.1, round(seconds * rate))
    soundfile.write(path, noise, rate)
    return path


def test_sound_keeps_its_length_and_hears_both_speakers(plan, tmp_path):
    path = clip(tmp_path / "in.wav", 0.63)
    made = [
        conversion.convert(plan(*pair), path, 0).audio for pair in (("slt", "rms"), ("p225", "rms"), ("slt", "slt"))
    ]
    assert all(audio.samples.shape == (round(0.63 * 16000),) and audio.sample_rate == 16000 for audio in made)
    assert not np.array_equal(made[0].samples, made[1].samples)
    assert not np.array_equal(made[0].samples, made[2].samples)
    again = conversion.convert(plan("slt", "rms"), path, 0)
    assert np.array_equal(again.audio.samples, made[0].samples)
    assert again.plain() == {"from": "rms", "voice": "slt", "similarity": None, "audio_seconds": 0.63}


def test_other_rates_are_resampled(plan, tmp_path):
    audio = conversion.convert(plan("slt", "rms"), clip(tmp_path / "in.wav", 0.5, 44100), 0).audio
    assert audio.sample_rate == 16000 and audio.samples.size == 8000


def test_windows_leave_no_seam(plan, tmp_path, monkeypatch):
    path = clip(tmp_path / "in.wav", 3.3)
    job = plan("slt", "rms", "vits.noise_scale=0")
    whole = conversion.convert(job, path, 0).audio.samples
    monkeypatch.setattr(conversion, "WINDOW", 0.5)
    monkeypatch.setattr(conversion, "CONTEXT", 0.3)
    parts = conversion.convert(job, path, 0).audio.samples
    assert parts.shape == whole.shape and np.abs(parts - whole).max() < 1e-5
    job = plan("slt", "rms", "vits.noise_scale=1")
    assert not np.array_equal(
        conversion.convert(job, path, 1).audio.samples, conversion.convert(job, path, 2).audio.samples
    )


def test_windows_cover_everything_once():
    for length in (1, 100, 16000 * 22, 16000 * 22 + 1, 16000 * 75 + 77):
        found = list(conversion._windows(length, 16000, 256))
        assert found[0][0] == 0 and found[-1][1] == length
        assert all(a[1] == b[0] and b[0] % 256 == 0 for a, b in zip(found, found[1:], strict=False))
        assert all(before <= start < end <= after for start, end, before, after in found)


def test_who_speaks_is_the_named_voice_most_like_it(plan, tmp_path, monkeypatch):
    def spectrum(audio, least):  # the real encoder takes seconds
        found = np.abs(np.fft.rfft(audio.samples, 1 << 18)).astype(np.float32)
        return found / np.linalg.norm(found)

    monkeypatch.setattr(conversion, "embed", spectrum)
    own = voices.load_voice("slt").clip
    soundfile.write(tmp_path / "in.wav", own.samples, own.sample_rate)
    found = conversion.convert(plan("rms"), tmp_path / "in.wav", 0)
    assert (found.source, found.target) == ("slt", "rms") and found.similarity == pytest.approx(1.0, abs=0.01)
    assert "slt (by likeness, cosine 1.00; say --from if not) -> rms" in found.told()
    assert plan("slt", "p225").source == "p225" and plan(str(tmp_path / "in.wav"), "rms").target == "slt"


@pytest.mark.parametrize(
    ("voice", "source", "message"),
    [
        ("slt", "rmz", r"unknown speaker 'rmz' \(did you mean 'rms'\?\); the speakers of .* are: rms, slt, p225"),
        ("awb", "rms", "voice 'awb' is no speaker of .*: this model speaks only as rms, slt, p225"),
        ("p226", "rms", r"unknown speaker 'p226' \(did you mean 'p225'\?\); the speakers of"),
    ],
)
def test_strangers_are_refused(plan, voice, source, message):
    with pytest.raises(ValueError, match=message):
        plan(voice, source)


def test_weights_that_are_no_numbers_give_no_sound(plan, tmp_path, monkeypatch):
    nothing = torch.full((16000,), float("nan"))
    monkeypatch.setattr(conversion, "_windowed", lambda *_: nothing)
    with pytest.raises(CheckpointError, match="gives samples that are not numbers; restore"):
        conversion.convert(plan("slt", "rms"), clip(tmp_path / "in.wav"), 0)


def test_what_cannot_be_converted_is_one_sentence(plan, tmp_path):
    with pytest.raises(AudioError, match=r"none.wav: cannot be read as sound"):
        conversion.convert(plan("slt", "rms"), tmp_path / "none.wav", 0)
    soundfile.write(tmp_path / "silence.wav", np.zeros(16000), 16000)
    with pytest.raises(ConfigError, match=r"less than 1 s of speech, too little to tell who speaks; say --from"):
        conversion.convert(plan("slt"), tmp_path / "silence.wav", 0)
    assert not np.isnan(conversion.convert(plan("slt", "rms"), tmp_path / "silence.wav", 0).audio.samples).any()
    with pytest.raises(ConfigError, match=r"vits.speed changes nothing in a conversion"):
        plan("slt", "rms", "vits.speed=2")
    one = tinyvits.write(tmp_path / "one", speakers=["rms"])
    with pytest.raises(ConfigError, match="knows one speaker only; name a checkpoint of several"):
        plan("rms", "rms", f"vits.checkpoint={one}")
    strangers = tinyvits.write(tmp_path / "strangers", speakers=["p225", "p226"])
    with pytest.raises(ConfigError, match="none of the speakers of .* is a named voice to compare with"):
        plan("p225", "", f"vits.checkpoint={strangers}")
    with pytest.raises(ConfigError, match=re.escape("route 'tortoise' has no stage 'vits', which converts")):
        conversion.plan(load_route("tortoise"), "slt", "rms")
