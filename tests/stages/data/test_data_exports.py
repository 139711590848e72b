"""Exports: what is written is read back the same by the reader of that layout, and what cannot be is said."""

import json

import numpy as np
import pytest
import soundfile
import tinycorpus

from stages.core.config import ConfigError
from stages.data.corpora import read_corpus
from stages.data.exports import KINDS, Item, export, from_manifest, one_speaker
from stages.data.manifest import read_manifest

LISTS = {"ljspeech": ".", "audiofolder": "."}
"""what `path` names where it is not the list"""
TEXT = "He said: \"12 m\",  ‘café’;\nthen\u2028left\t– it's 5 o'clock."


@pytest.fixture
def items(tmp_path):
    manifest = tinycorpus.write(tmp_path / "corpus", count=3)
    first, *rest = from_manifest(read_manifest(manifest))
    return [Item(first.id, first.audio, TEXT, first.speaker, first.duration), *rest]


def read_back(kind, folder, tmp_path):
    path = tmp_path / "c.yaml"
    named = folder if kind in LISTS else folder / KINDS[kind].list
    path.write_text(f"corpus: {kind}\npath: {named}\nout: x\n")
    job = read_corpus(path)
    return list(job.read(job.config))


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind, items, tmp_path):
    if not KINDS[kind].speakers:
        items = [item for item in items if item.speaker == "rms"]
    done = export(kind, items, tmp_path / "out")
    assert done.written == len(items) and not done.skipped and done.path == tmp_path / "out" / KINDS[kind].list
    found = read_back(kind, tmp_path / "out", tmp_path)
    assert [f.id for f in found] == [i.id for i in items]
    assert [f.text for f in found] == [" ".join(i.text.split()) for i in items]
    assert [f.language for f in found] == ["en"] * len(items)
    assert [f.speaker for f in found] == [i.speaker if KINDS[kind].speakers else "speaker" for i in items]
    assert all(f.audio.read_bytes() == i.audio.read_bytes() for f, i in zip(found, items, strict=True))
    before = done.path.stat().st_mtime_ns
    assert export(kind, items, tmp_path / "out").path.stat().st_mtime_ns == before


def test_ljspeech_holds_one_speaker_and_spoken_words(items, tmp_path):
    with pytest.raises(ConfigError, match=r"names no speaker, and there are 2 \(rms, slt\).*--speaker"):
        export("ljspeech", items, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match=r"7 \(a, b, c, d, e and 2 more\)"):
        one_speaker("ljspeech", set("abcdefg"))
    said = Item("a", items[0].audio, "It is 5.", "rms", 1.0, spoken="it is five")
    assert export("ljspeech", [said], tmp_path / "out").path.read_text() == "a|It is 5.|it is five\n"


def test_other_sounds_become_wav_where_the_layout_wants_it(tmp_path):
    tone = (0.3 * np.sin(np.arange(16000) / 20) * 32767).astype(np.int16)
    path = tmp_path / "a.flac"
    soundfile.write(path, tone, 16000, subtype="PCM_16")
    item = Item("a", path, "It came.", "x", 1.0)
    for _ in range(2):
        export("ljspeech", [item], tmp_path / "out")
        samples, rate = soundfile.read(tmp_path / "out" / "wavs" / "a.wav", dtype="int16")
        assert rate == 16000 and np.array_equal(samples, tone)
    assert export("nemo", [item], tmp_path / "nemo").written == 1
    assert [p.name for p in (tmp_path / "nemo" / "wavs").iterdir()] == ["a.flac"]
    path.write_bytes(b"fLaC, or so")
    done = export("ljspeech", [item], tmp_path / "other")
    assert done.written == 0 and "a.flac: cannot be read as sound" in done.skipped["a"]
    assert not list((tmp_path / "other" / "wavs").iterdir())


def test_what_a_layout_cannot_hold_is_said(items, tmp_path):
    a = items[1]
    bad = {
        "../x": Item("../x", a.audio, "One.", "rms", 1.0),
        "pipe": Item("pipe", a.audio, "x | y", "rms", 1.0),
        "who": Item("who", a.audio, "Two.", "a|b", 1.0),
        a.id.upper(): Item(a.id.upper(), a.audio, "Three.", "rms", 1.0),
        "empty": Item("empty", a.audio, " \n", "rms", 1.0),
        "lost": Item("lost", tmp_path / "lost.wav", "Four.", "rms", 1.0),
    }
    done = export("melotts", [a, *bad.values()], tmp_path / "out")
    assert done.written == 1 and done.skipped.keys() == bad.keys()
    done = export("melle", [a, *bad.values()], tmp_path / "out")
    assert done.written == 3 and done.skipped.keys() == bad.keys() - {"pipe", "who"}
    assert not list(tmp_path.glob("x*"))


def test_in_place_names_sounds_where_they_are(items, tmp_path):
    done = export("nemo", items, tmp_path / "unused", place=tmp_path / "corpus")
    lines = [json.loads(line) for line in done.path.read_text().split("\n")[:-1]]
    assert lines[0]["audio_filepath"] == "audio/rms/0.wav" and not (tmp_path / "unused").exists()
    assert not (tmp_path / "corpus" / "wavs").exists()


def test_places_and_kinds_that_are_none(items, tmp_path):
    with pytest.raises(ConfigError, match="unknown export 'kaldi'; use one of ljspeech, melotts"):
        export("kaldi", items, tmp_path / "out")
    (tmp_path / "out").write_text("a file in the way")
    with pytest.raises(ConfigError, match="out/wavs: cannot be read or written"):
        export("nemo", items, tmp_path / "out")
