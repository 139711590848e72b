"""Every detector finds the fault that was put into a voice's clip, and none in the clip itself."""

import numpy as np
import pytest

from stages.core.types import Audio, Phonemes, Word
from stages.core.voices import load_voice
from stages.data.aligners import NotAligned
from stages.evaluation import detectors
from stages.evaluation.detectors import extra_repeats, find_faults, find_repeat, lost_words

VOICES = ("awb", "rms", "slt")
PHONEMES = Phonemes("a b", (Word("a", ("ah",)),), ("pau", "ah", "pau"))


@pytest.fixture(scope="module")
def clips():
    return {name: load_voice(name).clip.samples for name in VOICES}


def names(samples, **more):
    return {fault.name for fault in find_faults(Audio(samples.astype(np.float32), 16000), **more)}


@pytest.mark.parametrize("voice", VOICES)
def test_sound_speech_has_no_fault(clips, voice):
    for gain in (1.0, 0.1):
        assert names(clips[voice] * gain) == set()


@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize("share", [0.35, 0.6, 0.8])
def test_cut_speech_is_truncated(clips, voice, share):
    assert "truncated" in names(clips[voice][: int(share * clips[voice].size)])


@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize(("at", "seconds", "times"), [(0.5, 0.25, 3), (1.2, 0.51, 1), (1.013, 1.0, 2)])
def test_repeated_speech_loops(clips, voice, at, seconds, times):
    samples, first, last = clips[voice], int(16000 * at), int(16000 * (at + seconds))
    looped = np.concatenate([samples[:last], *[samples[first:last]] * times, samples[last:]])
    assert "loop" in names(looped)
    found = find_repeat(looped)
    turns = found.lag / seconds
    assert abs(turns - round(turns)) * seconds < 0.01 and 1 <= round(turns) <= times


def test_distance_of_copies_is_small_and_of_speech_is_not(clips):
    samples = clips["rms"]
    assert find_repeat(np.concatenate([samples, samples])).distance < 0.5
    assert find_repeat(samples).distance > detectors.ALIKE_DB
    assert find_repeat(samples[:5000]) is None


def test_long_pause_and_clipping(clips):
    samples = clips["slt"]
    middle = samples.size // 2
    assert names(np.concatenate([samples[:middle], np.zeros(19200), samples[middle:]])) >= {"long_pause"}
    assert "clipped" in names(np.clip(samples * 4, -1, 1)) and "clipped" in names(samples * 4)


@pytest.mark.parametrize(
    "audio", [None, Audio(np.zeros(0, np.float32), 16000), Audio(np.zeros(16000, np.float32), 16000),
              Audio(np.full(99, np.nan, np.float32), 16000)],
)  # fmt: skip
def test_dead_sound_is_said(audio):
    (fault,) = find_faults(audio)
    assert fault.name == "dead" and fault.detail


def test_alignment_tells_missing_text_and_stuck_phones(clips, monkeypatch):
    monkeypatch.setattr(
        detectors, "_aligner", lambda: lambda s, p: (("pau", 0.2), ("ah", 1.2), ("t", 1.3), ("pau", 4.0))
    )
    (fault,) = find_faults(Audio(clips["rms"], 16000), PHONEMES)
    assert fault.name == "stuck" and fault.detail == "ah at 0.20 s lasts 1.00 s"

    squeezed = (("pau", 0.2), ("ah", 0.4), *((p, 0.4 + 0.03 * (n + 1)) for n, p in enumerate("tsk")), ("pau", 4.0))
    monkeypatch.setattr(detectors, "_aligner", lambda: lambda s, p: squeezed)
    (fault,) = find_faults(Audio(clips["rms"], 16000), PHONEMES)
    assert (fault.name, fault.detail) == ("text_missing", "its last 3 phones have 30 ms each: its end is not said")

    def refuse(samples, phonemes):
        raise NotAligned("its text is not found in the sound")

    monkeypatch.setattr(detectors, "_aligner", lambda: refuse)
    (fault,) = find_faults(Audio(clips["rms"], 16000), PHONEMES)
    assert (fault.name, fault.detail) == ("text_missing", "its text is not found in the sound")


def test_transcripts_tell_lost_ends_and_loops(clips):
    samples, said = clips["rms"], "the cat sat on the old mat"
    assert names(samples, reference=said, transcript=said) == set()
    assert names(samples, reference=said, transcript="the cat sat on") == {"text_missing"}
    assert names(samples, reference=said, transcript="the cat sat on the old the old the old mat") == {"loop"}
    assert names(samples, reference=said, transcript=None) == set()


def test_lost_words():
    assert lost_words("a b c d", "a b") == 2 and lost_words("a b c", "a x c") == 0 and lost_words("a b", "") == 2


def test_extra_repeats_know_what_was_to_be_said():
    assert extra_repeats("very very good", "very very good") == {}
    assert extra_repeats("so good", "so so good") == {}  # a stammer of the recogniser
    assert extra_repeats("so good", "so so so so good") == {("so",): 3, ("so", "so"): 1}
    assert extra_repeats("on the mat", "on the on the mat") == {("on", "the"): 1}
    assert extra_repeats("a", "") == {}
