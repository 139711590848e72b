"""Statistics are those of the frames, and go into a model's config by themselves."""

import dataclasses
import json
import math

import numpy as np
import pytest

from stages.core.config import ConfigError
from stages.core.symbols import SYMBOLS
from stages.data.statistics import FILE, Moments, fill, statistics


@dataclasses.dataclass(frozen=True)
class Network:
    speakers: int = 1
    symbols: tuple[str, ...] = ()
    pitch_mean: float = 0.0
    pitch_std: float = 1.0
    energy_mean: float = 0.0
    width: int = 8


FIELDS = Network.__dataclass_fields__


def test_statistics_are_those_of_the_frames(tiny_corpus):
    found = statistics(tiny_corpus)
    assert list(found.speakers) == ["rms", "slt"] and found.whole.utterances == 48
    assert found.whole.seconds == pytest.approx(tiny_corpus.frame_start[-1] * 256 / 16000)
    assert sum(s.seconds for s in found.speakers.values()) == pytest.approx(found.whole.seconds)
    assert sum(s.phones for s in found.speakers.values()) == len(tiny_corpus.phones)
    for name, hertz in (("rms", 110), ("slt", 190)):  # the voices of the fake teacher
        assert math.exp(found.speakers[name].pitch.mean) == pytest.approx(hertz, rel=0.05)
    energy = tiny_corpus.energy.astype(np.float64)
    assert found.whole.energy == Moments(len(energy), pytest.approx(energy.mean()), pytest.approx(energy.std()))
    assert found.symbols == tuple(s for i, s in enumerate(SYMBOLS) if i in set(tiny_corpus.phones.tolist()))


def test_they_are_read_back_and_a_damaged_file_is_made_again(tiny_corpus):
    found, path = statistics(tiny_corpus), tiny_corpus.folder / FILE
    before = path.stat().st_mtime_ns
    assert statistics(tiny_corpus) == found and path.stat().st_mtime_ns == before
    path.write_text(path.read_text()[:40])
    assert statistics(tiny_corpus) == found and json.loads(path.read_text())["whole"]["utterances"] == 48


def test_a_folder_without_energy_has_it_from_its_waveform(tiny_corpus):
    (tiny_corpus.folder / FILE).unlink(missing_ok=True)
    bare = statistics(dataclasses.replace(tiny_corpus, energy=None)).whole.energy
    (tiny_corpus.folder / FILE).unlink()
    found = statistics(tiny_corpus).whole.energy
    assert (bare.count, bare.mean) == (found.count, pytest.approx(found.mean, abs=1.0))  # silence of int16 is -100 dB


def test_fill_adds_what_a_model_declares_and_nothing_else(tiny_corpus):
    stats = statistics(tiny_corpus)
    out = fill({"width": 3}, FIELDS, stats)
    assert out == {
        "width": 3, "speakers": 2, "symbols": list(stats.symbols), "pitch_mean": stats.whole.pitch.mean,
        "pitch_std": stats.whole.pitch.std, "energy_mean": stats.whole.energy.mean,
    }  # fmt: skip
    assert fill({"pitch_mean": 5.0}, FIELDS, stats)["pitch_mean"] == 5.0
    assert fill({"a": 1}, {}, stats) == {"a": 1}
    sized = dataclasses.make_dataclass("Sized", [("symbols", int, 0), ("speakers", tuple[str, ...], ())])
    assert fill({}, sized.__dataclass_fields__, stats) == {"symbols": len(SYMBOLS), "speakers": ["rms", "slt"]}


def test_a_number_that_the_corpus_lacks_is_not_invented(tiny_corpus):
    stats = statistics(tiny_corpus)
    mute = dataclasses.replace(stats, whole=dataclasses.replace(stats.whole, pitch=Moments.of(np.zeros(0))))
    with pytest.raises(ConfigError, match="network.pitch_mean: no frame of the corpus has a pitch"):
        fill({}, FIELDS, mute)
