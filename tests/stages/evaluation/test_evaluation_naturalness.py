"""DNSMOS: never a number, and never a hang, where there is nothing to hear; the same scores as speechmos itself."""

import importlib.metadata

import numpy as np
import pytest

from stages.core.artifacts import MemoryStore
from stages.core.config import ConfigError
from stages.core.types import Audio
from stages.core.voices import load_voice
from stages.evaluation import naturalness
from stages.evaluation.levels import NotMeasurable
from stages.evaluation.naturalness import Opinion, check_dnsmos, dnsmos, opinions


class Session:
    """Says what it read: the number of values."""

    def __init__(self, width):
        self.width, self.shapes = width, []

    def run(self, names, given):
        self.shapes.append(given["input_1"].shape)
        return [np.full((1, self.width), 3.0, np.float32)]


@pytest.fixture
def sessions(monkeypatch):
    both = Session(3), Session(1)
    monkeypatch.setattr(naturalness, "_sessions", lambda: both)
    return both


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(0, np.float32), "empty"),
        (np.zeros(16000, np.float32), "silent"),
        (np.full(16000, np.nan, np.float32), "not numbers"),
        (np.full(800, 0.5, np.float32), "too short for DNSMOS"),
    ],
)
def test_nothing_to_hear_has_a_reason(sessions, samples, reason):
    with pytest.raises(NotMeasurable, match=reason):
        dnsmos(Audio(samples, 16000))
    assert sessions[0].shapes == []


def test_windows_and_polynomials(sessions, speech):
    found = dnsmos(Audio(speech, 16000))
    assert sessions[0].shapes == [(1, naturalness.WINDOW)] * len(sessions[0].shapes)
    assert len(sessions[0].shapes) == 7  # doubled to 16 s: windows at 0, 1, …, 6 s
    assert set(sessions[1].shapes) == {(1, 900, 120)}
    assert found.overall == pytest.approx(-0.06766283 * 9 + 1.11546468 * 3 + 0.04602535, abs=1e-6)
    assert found.p808 == pytest.approx(3.0)


def test_scores_and_reasons_are_kept(sessions, speech):
    store = MemoryStore()
    clips = [Audio(speech, 16000), None, Audio(np.zeros(9, np.float32), 16000), Audio(speech, 16000)]
    first = opinions(clips, store=store)
    done = len(sessions[0].shapes)
    assert opinions(clips, store=store) == first and len(sessions[0].shapes) == done
    assert isinstance(first[0], Opinion) and first[0] == first[3]
    assert first[1] == "no sound" and "silent" in first[2]


def test_missing_packages_are_named(monkeypatch):
    assert "speechmos" in check_dnsmos()

    def gone(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(naturalness.importlib.metadata, "version", gone)
    with pytest.raises(ConfigError, match="needs the package onnxruntime"):
        opinions([None])


def test_missing_model_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(naturalness, "_models", lambda: (tmp_path / "a.onnx", tmp_path / "b.onnx"))
    with pytest.raises(ConfigError, match="a.onnx is missing"):
        check_dnsmos()


@pytest.mark.slow
def test_equal_to_speechmos():
    from speechmos import dnsmos as theirs

    audio = load_voice("rms").clip
    ours, wanted = dnsmos(audio), theirs.run(audio.samples, 16000)
    assert (ours.overall, ours.signal, ours.background, ours.p808) == pytest.approx(
        (wanted["ovrl_mos"], wanted["sig_mos"], wanted["bak_mos"], wanted["p808_mos"]), abs=1e-3
    )


@pytest.mark.slow
def test_noise_is_heard():
    audio = load_voice("rms").clip
    noise = np.random.default_rng(0).normal(0, 1, audio.samples.size).astype(np.float32)
    scores = [dnsmos(Audio(audio.samples + level * noise, 16000)) for level in (0.0, 0.003, 0.01, 0.03, 0.1)]
    for name in ("overall", "background"):
        values = [getattr(s, name) for s in scores]
        assert values == sorted(values, reverse=True)
