"""Exports hold every spoken line or say why not, and follow the output when it changes."""

import csv
import json

import pytest

from flows import outputs
from flows.exports import check, export, kinds
from flows.outputs import OutputError
from stages.data import exports


@pytest.fixture
def out(tmp_path):
    for name in ("a.wav", "b.wav", "c.wav"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def row(name, text, **more):
    return {"id": name, "text": text, "path": f"{name}.wav", "duration": 1.5, "voice": "rms", "spoken": None} | more


ROWS = [
    row("a", 'He said "12 m".\nThen\u2028left.', spoken=["he", "said", "twelve", "metres", "then", "left"]),
    row("b", "x | y"),
    row("c", "It came.", title="The Fog"),
    {"id": "d", "text": "??", "voice": "rms", "error": "there is nothing to say"},
]


def test_ljspeech(out):
    done = export("ljspeech", out, ROWS)
    assert done.written == 2 and done.path == out / "ljspeech" / "metadata.csv"
    assert set(done.skipped) == {"b", "d"} and "'|'" in done.skipped["b"] and "nothing to say" in done.skipped["d"]
    with open(done.path, encoding="utf-8", newline="") as file:
        assert list(csv.reader(file, delimiter="|", quoting=csv.QUOTE_NONE)) == [
            ["a", 'He said "12 m". Then left.', "he said twelve metres then left"],
            ["c", "The Fog It came.", "The Fog It came."],
        ]
    assert sorted(p.name for p in (out / "ljspeech" / "wavs").iterdir()) == ["a.wav", "c.wav"]
    assert (out / "ljspeech" / "wavs" / "a.wav").samefile(out / "a.wav")  # no room is spent twice


def test_ljspeech_follows_a_sound_that_was_spoken_again(out, monkeypatch):
    def none(*paths):
        raise OSError("no hard links here")

    for linking in (True, False):
        if not linking:
            monkeypatch.setattr(exports.os, "link", none)
        for content in (b"first", b"second"):
            outputs.write_file(out / "a.wav", content)
            export("ljspeech", out, ROWS)
            export("ljspeech", out, ROWS)
            assert (out / "ljspeech" / "wavs" / "a.wav").read_bytes() == content
    assert len(list((out / "ljspeech" / "wavs").iterdir())) == 2


def test_jsonl(out):
    done = export("jsonl", out, ROWS)
    lines = [json.loads(line) for line in done.path.read_text(encoding="utf-8").split("\n")[:-1]]
    assert done.written == len(lines) == 3 and set(done.skipped) == {"d"}
    assert lines[0] == {
        "audio_filepath": "a.wav", "text": 'He said "12 m". Then left.', "duration": 1.5, "speaker": "rms",
        "lang": "en",
    }  # fmt: skip
    assert all((done.path.parent / line["audio_filepath"]).is_file() for line in lines)
    assert lines[2]["text"] == "The Fog It came."


def test_every_row_is_written_or_skipped(out):
    for kind in kinds():
        done = export(kind, out, ROWS)
        assert done.written + len(done.skipped) == len(ROWS)
        before = done.path.read_bytes()
        assert export(kind, out, ROWS).path.read_bytes() == before
        assert export(kind, out, []).written == 0


def test_what_cannot_be_exported_is_refused_before_any_work(out):
    check(["jsonl"], "opus")
    check(["ljspeech", "jsonl"], "wav")
    with pytest.raises(OutputError, match="takes wav, not opus; use --format wav"):
        check(["jsonl", "ljspeech"], "opus")
    with pytest.raises(OutputError, match="unknown export 'kaldi'; use one of ljspeech, melotts"):
        check(["kaldi"], "wav")
    with pytest.raises(OutputError, match="takes wav, not flac"):
        export("ljspeech", out, [row("a", "x", path="a.flac")])
    assert not (out / "ljspeech").exists()


def test_a_place_that_cannot_be_written(out):
    (out / "ljspeech").write_text("a file in the way")
    with pytest.raises(OutputError, match="ljspeech"):
        export("ljspeech", out, ROWS)
    (out / "train.jsonl").mkdir()
    with pytest.raises(OutputError, match="train.jsonl"):
        export("jsonl", out, ROWS)
    (out / "ljspeech").unlink()
    assert "none.wav is not there" in export("ljspeech", out, [row("none", "x")]).skipped["none"]


def test_ljspeech_holds_one_voice_and_says_so(out):
    done = export("ljspeech", out, [row("a", "One."), row("b", "Two.", voice="slt"), row("c", "Three.")])
    assert done.written == 2 and done.skipped == {"b": "its voice is not 'rms', and ljspeech holds one speaker"}
    assert export("melotts", out, [row("a", "One."), row("b", "Two.", voice="slt")]).written == 2
