"""Voices: named ones, the user's clips, and every way in which they can be wrong."""

import numpy as np
import pytest
import soundfile

from stages.core.audio import AudioError
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
