"""Voices: named ones, the user's clips, and every way in which they can be wrong."""

import numpy as np
import pytest
import soundfile

from stages.core.audio import AudioError
from stages.core.route import audio_spec, load_route, voice_rate
from stages.core.voices import VoiceError, list_voices, load_voice


def test_named_voices(world):
    assert [v.name for v in list_voices()] == ["rms", "slt"]
    voice = load_voice("rms")
    assert voice.name == "rms" and voice.clip.sample_rate == 16000 and voice.licence == "test"
    assert voice.digest == load_voice("rms").digest != load_voice("slt").digest


def test_unknown_voice_names_the_near_miss(world):
    with pytest.raises(VoiceError, match=r"unknown voice 'rmz'; did you mean 'rms'\? \(known: rms, slt\)"):
        load_voice("rmz")
    with pytest.raises(VoiceError, match="no such sound file"):
        load_voice("nowhere/me.wav")
    for odd in ("..", ".", "", "a\x00b", "../voices/rms"):
        with pytest.raises(VoiceError):
            load_voice(odd)


def test_clip_of_the_user(world):
    soundfile.write("me.wav", np.stack([np.full(32000, 0.2), np.full(32000, 0.4)], 1), 16000, subtype="FLOAT")
    voice = load_voice("me.wav")
    assert (voice.name, voice.licence) == ("me", "given by the user")
    assert voice.clip.samples == pytest.approx(0.3, abs=1e-6)


@pytest.mark.parametrize("seconds", [0.5, 31])
def test_clip_too_short_or_long(world, seconds):
    soundfile.write("me.wav", np.zeros(int(16000 * seconds)), 16000)
    with pytest.raises(VoiceError, match="give one of 1 to 30 s"):
        load_voice("me.wav")


def test_clip_that_is_no_sound(world):
    (world / "me.wav").write_text("not sound")
    with pytest.raises(AudioError, match=r"me\.wav: cannot be read as sound"):
        load_voice("me.wav")


def test_bad_entry(world):
    (world / "voices" / "rms" / "voice.yaml").write_text("name: rms\nclp: clip.wav\nlicence: x\n")
    with pytest.raises(VoiceError, match="unknown key 'clp'; did you mean 'clip'"):
        load_voice("rms")
    (world / "voices" / "rms" / "voice.yaml").write_text("name: rms\nclip: ../slt/clip.wav\nlicence: x\n")
    with pytest.raises(VoiceError, match="file name within the folder"):
        load_voice("rms")


def test_a_voice_is_heard_at_the_rate_of_the_stages_that_hear_it(tmp_path):
    (tmp_path / "config.yaml").write_text("audio: {sample_rate: 22050, n_fft: 1024, hop: 256}\n")
    usual = load_voice("slt")
    assert voice_rate(load_route("tortoise")) == usual.clip.sample_rate == 16000
    route = load_route("tortoise", None, [f"autoregressive.checkpoint={tmp_path}"])
    own = load_voice("slt", voice_rate(route))
    assert own.clip.sample_rate == 22050 and own.digest != usual.digest
    assert own.clip.samples.size == pytest.approx(usual.clip.samples.size * 22050 / 16000, abs=2)
    by_name = load_route("vits", None, [f"vits.checkpoint={tmp_path}"])  # its stage knows voices by name
    assert voice_rate(by_name) == 16000 and audio_spec(by_name).sample_rate == 22050
