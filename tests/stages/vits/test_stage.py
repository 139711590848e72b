"""The vits stage: who speaks, what is refused and how, and what controls do; on tiny random weights."""

import numpy as np
import pytest
import tinyvits
import torch

from stages.core import voices
from stages.core.checkpoint import CheckpointError
from stages.core.config import ConfigError, build
from stages.core.types import Audio, Phonemes, Tones, Voice, Word, WordVectors
from stages.vits import cast
from stages.vits.config import SPEC, VitsConfig
from stages.vits.stage import VitsStage, levelled


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of two speakers with accents of their own."""
    accents = {"accents": ["us", "in"], "accent_of": {"rms": "us", "slt": "in"}, "languages": ["en", "fr"]}
    return tinyvits.write(tmp_path_factory.mktemp("vits") / "checkpoint", **accents)


def phonemes(*phones):
    return Phonemes("t", (Word("t", phones),), ("pau", *phones, "pau"))


def speak(folder, seed=1, voice="rms", item=None, phones=("hh", "ax", "l", "ow"), **controls):
    """Samples of one item."""
    stage = VitsStage.load(VitsConfig(str(folder), **controls), "cpu")
    given = {Phonemes: phonemes(*phones), Voice: voices.load_voice(voice), **(item or {})}
    return stage.run([given], seeds=[seed])[0]


def test_voices_speakers_and_accents_are_told_apart(folder):
    rms, slt = speak(folder), speak(folder, voice="slt")
    assert rms.sample_rate == 16000 and rms.samples.dtype == np.float32 and not np.array_equal(rms.samples, slt.samples)
    assert np.array_equal(speak(folder, voice="rms", speaker="slt").samples, slt.samples)
    assert np.array_equal(speak(folder, voice="slt", accent="in").samples, slt.samples)  # the speaker's own
    assert not np.array_equal(speak(folder, voice="slt", accent="us").samples, slt.samples)
    assert np.array_equal(speak(folder, language="en").samples, rms.samples)
    assert not np.array_equal(speak(folder, language="fr").samples, rms.samples)


def test_a_voice_is_known_by_its_sound_not_its_name(folder, tmp_path):
    own = voices.load_voice("slt")
    config = VitsConfig(str(folder))
    assert cast.speaker_of(cast.read_cast(str(folder)), "", Voice("copy", own.clip, "", own.digest)) == 1
    with pytest.raises(ConfigError, match=r"voice 'rms' is no speaker of .*speaks only as rms, slt; give one of them"):
        cast.check_voice(config, Voice("rms", own.clip, "", "another digest"))
    nameless = tinyvits.write(tmp_path / "one", speakers=[])
    assert cast.speaker_of(cast.read_cast(str(nameless)), "", own) is None
    assert speak(nameless, voice="awb").samples.size


def test_a_stranger_is_told_what_would_do(tmp_path):
    """A speaker without a voice of its name cannot be a --voice."""
    for speakers, mend in (
        (["rms", "slt"], "give one of them as --voice or with --set vits.speaker=NAME"),
        (["rms", "p1"], "give rms as --voice, or any with --set vits.speaker=NAME"),
        (["p1", "p2"], "p1, p2; give one with --set vits.speaker=NAME"),
    ):
        config = VitsConfig(str(tinyvits.write(tmp_path / speakers[1], speakers=speakers)))
        with pytest.raises(ConfigError, match=mend):
            cast.check_voice(config, voices.load_voice("awb"))


def test_how_a_converted_checkpoint_reads_is_a_part_of_the_key(tmp_path):
    """It is in meta.json, which the weights' digest leaves out."""
    found = []
    for n, told in enumerate(
        ({}, {"reads": {"unit": "characters"}}, {"reads": {"unit": "characters", "add_blank": False}})
    ):
        folder = tinyvits.write(tmp_path / str(n), meta=told and {**told, "names": {"symbols": ["a"]}})
        found.append(SPEC.content(VitsConfig(str(folder))))
    assert found[0] == {} and found[1] != found[2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"speaker": "slr"}, r"unknown speaker 'slr' \(did you mean 'slt'\?\); the speakers of .* are: rms, slt"),
        ({"accent": "xx"}, r"unknown accent 'xx'; the accents of .* are: us, in"),
        ({"language": "eng"}, r"unknown language 'eng' \(did you mean 'en'\?\); the languages of .* are: en, fr"),
    ],
)
def test_whom_the_checkpoint_has_not_is_refused(folder, given, message):
    with pytest.raises(ConfigError, match=message):
        SPEC.check(VitsConfig(str(folder), **given), ())


def test_a_checkpoint_without_accents_takes_none(tmp_path):
    plain = tinyvits.write(tmp_path / "plain")
    with pytest.raises(ConfigError, match="accent is 'us', but .* has no accents to choose from; leave it out"):
        SPEC.check(VitsConfig(str(plain), accent="us"), ())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"speed": 0.0}, "speed is 0; give 0.25"),
        ({"speed": -1.0}, "speed is -1; give"),
        ({"speed": 40.0}, r"speed is 40; give 0.25 \(slow\) to 4 \(fast\)"),
        ({"speed": float("nan")}, "speed is nan"),
        ({"noise_scale": -0.1}, "noise_scale is -0.1; give 0"),
        ({"noise_scale_w": 3.0}, "noise_scale_w is 3; give 0"),
        ({"sdp_ratio": 1.1}, "sdp_ratio is 1.1; give 0"),
        ({"sped": 1.0}, "unknown key 'sped'; did you mean 'speed'"),
    ],
)
def test_absurd_controls_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        build(VitsConfig, given, "vits")


def test_word_vectors_and_tones_are_asked_for_and_refused(tmp_path):
    plain = VitsConfig(str(tinyvits.write(tmp_path / "plain")))
    hears = VitsConfig(str(tinyvits.write(tmp_path / "hears", meta={"bert": "enc"}, bert=5, tones=4)))
    with pytest.raises(ConfigError, match=r"reads no word vectors \(BERT\); leave stage bert out"):
        SPEC.check(plain, (WordVectors,))
    with pytest.raises(ConfigError, match=r"reads word vectors \(BERT\); put stage bert before vits"):
        SPEC.check(hears, (Tones,))
    with pytest.raises(ConfigError, match="reads tones; put stage stress before vits"):
        SPEC.check(hears, (WordVectors,))
    SPEC.check(hears, (Tones, WordVectors))
    vectors, tones = np.ones((6, 5), np.float32), Tones((0, 0, 3, 0, 1, 0))
    sounds = [
        speak(hears.checkpoint, item={WordVectors: WordVectors(own, "enc"), Tones: tones}).samples
        for own in (vectors, -vectors)
    ]
    assert not np.array_equal(*sounds)
    with pytest.raises(CheckpointError, match="are not those that this checkpoint was trained with"):
        speak(hears.checkpoint, item={WordVectors: WordVectors(vectors, "other"), Tones: tones})


def test_blanks_change_the_reading_and_nothing_else(tmp_path):
    blank = tinyvits.write(tmp_path / "blank", blank=True, bert=5, tones=4)
    given = {WordVectors: WordVectors(np.ones((6, 5), np.float32), "enc"), Tones: Tones((0, 0, 3, 0, 1, 0))}
    assert speak(blank, item=given).samples.size


def test_seeds_vary_and_steady_does_not(tmp_path):
    for name, decoder in (("hifigan", tinyvits.SMALL["decoder"]), ("noisy", tinyvits.NOISY)):
        folder = tinyvits.write(tmp_path / name, decoder=decoder)
        lengths = {speak(folder, seed).samples.size for seed in range(4)}
        assert len(lengths) > 1, "every seed has its own rhythm"
        steady = [speak(folder, seed, noise_scale=0.0, noise_scale_w=0.0).samples for seed in (1, 2)]
        assert np.array_equal(*steady)


def test_speed_is_a_factor(folder):
    """Frames are whole, and a phone has one at least, so the factor is met where durations are long."""
    slow, slower = (speak(folder, speed=s, phones=("aa", "s") * 20).samples.size for s in (0.5, 0.25))
    assert slower / slow == pytest.approx(2, rel=0.2) and slow > speak(folder, phones=("aa", "s") * 20).samples.size


@pytest.mark.parametrize("count", [1, 600])
def test_one_phone_and_very_many(folder, count):
    assert np.isfinite(speak(folder, phones=("aa",) * count).samples).all()


def test_loud_sound_is_scaled_and_silence_stays(folder):
    loud = levelled(torch.tensor([0.5, -4.0]))
    assert loud == pytest.approx([0.12375, -0.99]) and not levelled(torch.zeros(9)).any()
    assert levelled(torch.tensor([0.5])) == pytest.approx([0.5])


def test_other_checkpoints_are_refused(folder, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint there"):
        cast.read_cast(str(tmp_path / "nowhere"))
    other = tinyvits.write(tmp_path / "other", meta={"stage": "vocoder"})
    with pytest.raises(CheckpointError, match="is a checkpoint of 'vocoder', not of 'vits'"):
        SPEC.check(VitsConfig(str(other)), ())
    hurt = tinyvits.write(tmp_path / "hurt") / "config.yaml"
    hurt.write_text(hurt.read_text().replace("hidden: 16", "hidden: 0"))
    with pytest.raises(ConfigError, match="hidden is 0; give 1 or more"):
        VitsStage.load(VitsConfig(str(hurt.parent)), "cpu")
    strange = tinyvits.write(tmp_path / "strange", meta={"symbols": "another table"})
    with pytest.raises(CheckpointError, match="another phone table"):
        VitsStage.load(VitsConfig(str(strange)), "cpu")


def test_at_the_checkpoints_own_rate(tmp_path):
    audio = {"sample_rate": 22050, "n_fft": 256, "hop": 64, "n_mels": 20}
    sound = speak(tinyvits.write(tmp_path / "fast", audio=audio))
    assert isinstance(sound, Audio) and sound.sample_rate == 22050 and sound.samples.size % 64 == 0
