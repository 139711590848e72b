import hashlib

import numpy as np
import pytest
import soundfile

from stages.core import hearing
from stages.core.artifacts import MemoryStore
from stages.core.config import ConfigError
from stages.data.mismatch import Spoken, hear

SAID = {}


@pytest.fixture
def clips(tmp_path, monkeypatch):
    """Gives `clips([(transcript, words that will be heard)])`, and how often was listened."""
    calls = []

    def listen(data):
        calls.append(data)
        return SAID[hashlib.sha256(data).hexdigest()]

    monkeypatch.setitem(hearing.RECOGNISERS, "fake", hearing.Recogniser("fake", listen, lambda: "1"))

    def make(pairs):
        out = []
        for n, (text, heard) in enumerate(pairs):
            path = tmp_path / f"{n}.wav"
            soundfile.write(path, np.full(1600, 0.1 + n / 100), 16000)
            samples, _ = soundfile.read(path, dtype="float32")
            SAID[hashlib.sha256(hearing.pcm(hearing.Audio(samples, 16000))).hexdigest()] = heard
            out.append(Spoken(path, text))
        return out

    return make, calls


def test_errors_are_those_of_what_is_spoken(clips):
    make, _ = clips
    pairs = [("The year 1984.", "the year nineteen eighty four"), ("Hello there!", "hello"), ("Abcd", "")]
    found = hear(make(pairs), "fake")
    assert [h.cer for h in found] == pytest.approx([0.0, 6 / 11, 1.0])
    assert found[0].reference == "the year nineteen eighty four" and found[2].words == ""


def test_transcripts_are_kept(clips):
    make, calls = clips
    store, told = MemoryStore(), []
    both = make([("one two", "one two"), ("three", "tree")])
    first = hear(both, "fake", 1, store, lambda done, of: told.append((done, of)))
    assert hear(both, "fake", 1, store) == first and len(calls) == 2 and told == [(2, 2)]


def test_bad_recognisers_are_told_and_nothing_is_nothing(clips):
    make, _ = clips
    with pytest.raises(ConfigError, match="unknown recogniser 'fak'; did you mean 'fake'"):
        hear(make([("a", "a")]), "fak")
    assert hear([], "fake") == []
