"""The measures of the report: numbers or reasons for every sentence, and a name for every model that is missing."""

import dataclasses
import importlib.metadata
import math
from dataclasses import dataclass

import numpy as np
import pytest

from stages.core.artifacts import MemoryStore
from stages.core.audio import AudioSpec
from stages.core.config import ConfigError
from stages.core.types import Audio, Voice
from stages.evaluation import measures, similarity
from stages.evaluation.bench import Clip, Sentence
from stages.evaluation.config import EvaluateConfig
from stages.evaluation.levels import NotMeasurable


def sound(value, size=100, rate=16000):
    return Audio(np.full(size, value, np.float32), rate)


@dataclass(frozen=True)
class Compass:
    """Speakers are the angle that the level of a sound stands for."""

    name: str = "compass"

    def version(self):
        return "1"

    def __call__(self, samples):
        if samples[0] > 0.9:
            raise NotMeasurable("it shouts")
        return np.array([math.cos(5 * samples[0]), math.sin(5 * samples[0])], np.float32)


@pytest.fixture
def case(world, monkeypatch):
    """Makes a case; the voice is at 0.1, the other named one at 0.2."""
    monkeypatch.setitem(similarity.ENCODERS, "compass", lambda _: Compass())

    def make(clips, truth=None, told=None):
        own = [Sentence(str(n), "a", "a") for n, _ in enumerate(clips)]
        voice = Voice("rms", sound(0.1), "test", "0" * 64)
        return measures.Case(
            own, clips, ["a"] * len(clips), truth, voice, AudioSpec(), MemoryStore(), speaker="compass",
            advance=(told if told is not None else []).append,
        )  # fmt: skip

    return make


def test_similarity_raw_and_between_the_other_voice_and_the_same(case):
    clips = [Clip(sound(0.1)), Clip(sound(0.2)), Clip(None, "boom"), Clip(sound(0.95))]
    found = measures.measure_similarity(case(clips, [Clip(sound(0.1))] * 4))
    raw, norm = found["secs"], found["secs_norm"]
    assert [raw[0].value, raw[1].value] == [pytest.approx(1.0), pytest.approx(math.cos(0.5), abs=1e-3)]
    assert [norm[0].value, norm[1].value] == [pytest.approx(1.0, abs=1e-2), pytest.approx(0.0, abs=1e-2)]
    assert [s.reason for s in raw[2:]] == ["no sound", "it shouts"] == [s.reason for s in norm[2:]]


def test_similarity_without_baselines_says_why(case):
    clips = [Clip(sound(0.1)), Clip(None, "boom")]
    alone = measures.measure_similarity(case(clips))
    assert alone["secs"][0].value == pytest.approx(1.0) and "two clips of one speaker" in alone["secs_norm"][0].reason
    alike = measures.measure_similarity(case(clips, [Clip(sound(0.2))] * 2))
    assert "no more alike" in alike["secs_norm"][0].reason and alike["secs_norm"][1].reason == "no sound"


def test_levels(case, speech):
    told = []
    clips = [Clip(Audio(speech, 16000)), Clip(None, "boom"), Clip(sound(1.0, 8000))]
    found = measures.measure_loudness(case(clips, told=told))
    assert found["loudness"][0].value == pytest.approx(-24, abs=6) and found["clipped"][2].value == 1.0
    assert {column[1].reason for column in found.values()} == {"no sound"} and sum(told) == 3


def test_naturalness_of_nothing_is_no_number(case, monkeypatch):
    from stages.evaluation.naturalness import Opinion

    monkeypatch.setattr(measures, "opinions", lambda *_: [Opinion(3.0, 3.5, 4.0, 2.5), "no sound"])
    found = measures.measure_naturalness(case([Clip(sound(0.1)), Clip(None, "boom")]))
    assert [column[0].value for column in found.values()] == [3.0, 3.5, 4.0, 2.5]
    assert {column[1].reason for column in found.values()} == {"no sound"}


def test_a_package_that_is_missing_is_named(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    for name, message in (("secs", "measure 'secs': .*resemblyzer"), ("dnsmos", "measure 'dnsmos': DNSMOS needs")):
        with pytest.raises(ConfigError, match=message):
            measures.check_measures(EvaluateConfig(measures=(name,)))
    with pytest.raises(ConfigError, match="measure 'secs': unknown speaker encoder 'resemblizer'"):
        measures.check_measures(EvaluateConfig(measures=("secs",), speaker="resemblizer"))


def test_distortion_resamples_what_has_another_rate(case, speech):
    import torch
    import torchaudio

    double = torchaudio.functional.resample(torch.from_numpy(speech), 16000, 48000).numpy()
    clips = [Clip(Audio(double, 48000)), Clip(Audio(speech, 16000))]
    found = measures.measure_distortion(case(clips, [Clip(Audio(speech, 16000))] * 2))
    assert found["mcd"][0].value < 0.5 and found["mcd"][1].value == 0.0
    assert [s.reason for s in found["mel_l1"]] == ["not aligned"] * 2


def test_pitch_against_the_reference_or_why_not(case, speech):
    told = []
    clips = [Clip(Audio(speech, 16000)), Clip(None, "boom"), Clip(Audio(speech, 16000)), Clip(sound(0.5, 16000))]
    truth = [Clip(Audio(speech, 16000)), Clip(Audio(speech, 16000)), Clip(None, "x"), Clip(Audio(speech, 16000))]
    found = measures.measure_prosody(case(clips, truth, told))
    assert found["log_f0_rmse"][0].value == 0.0 == found["voicing_error"][0].value and sum(told) == 4
    assert [s.reason for s in found["log_f0_rmse"][1:3]] == ["no sound", "no reference sound"]
    assert "voiced together in" in found["log_f0_rmse"][3].reason and found["voicing_error"][3].value > 0


def test_phones_that_are_not_heard_are_errors(case, monkeypatch):
    from stages.evaluation.phone_errors import heard_phones

    monkeypatch.setattr(measures, "heard_phones", lambda clips, *_: [("hh", "ay"), ()])
    given = case([Clip(sound(0.1)), Clip(None, "boom")])
    said = [Sentence(s.id, s.text, s.reference, ("hh", "ay")) for s in given.sentences]
    given = dataclasses.replace(given, sentences=said)
    assert [s.value for s in measures.measure_phones(given)["phone_errors"]] == [0.0, 1.0]
    assert measures.worst_phones(given).rate == 0.5 and heard_phones([None]) == [()]


def test_faults_are_noted_and_no_sound_is_one(case, speech):
    whole = np.concatenate([speech, np.zeros(4000, np.float32)])
    cut = np.concatenate([speech[:7000], np.zeros(0, np.float32)])
    found = measures.measure_faults(case([Clip(Audio(whole, 16000)), Clip(Audio(cut, 16000)), Clip(None, "boom")]))
    scores = found["faulty"]
    assert [s.value for s in scores[1:]] == [1.0, 1.0] and scores[2].note == "dead: no sound"
    assert "truncated" in scores[1].note and "truncated" not in scores[0].note


def test_distribution_needs_a_reference_and_enough_speech(case, monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(measures, "windows", lambda clips, *_: [rng.normal(size=(300, 256)) for _ in clips])
    clips = [Clip(sound(0.1))]
    assert measures.measure_distribution(case(clips))["frechet"][0].reason == "no reference sound"
    assert measures.measure_distribution(case(clips, clips))["frechet"][0].value > 0
    monkeypatch.setattr(measures, "windows", lambda clips, *_: [rng.normal(size=(3, 256)) for _ in clips])
    assert "too few" in measures.measure_distribution(case(clips, clips))["frechet"][0].reason


def test_every_column_has_a_name_of_its_own():
    names = [column.name for measure in measures.MEASURES.values() for column in measure.columns]
    assert len(set(names)) == len(names)
