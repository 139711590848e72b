"""The steps from a corpus to training data: every utterance is accounted for, and a second run opens nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
import tinycorpus

from stages.core.config import ConfigError
from stages.data import prepare as preparing
from stages.data.alignment import Aligned
from stages.data.exports import export, from_manifest
from stages.data.features import load_features
from stages.data.manifest import read_manifest
from stages.data.prepare import Preparation, main, prepare, read_job
from stages.data.recording import Problem

TONES = ("clean.trim=false", "clean.min_characters_per_second=0.1")
"""tones are no speech to a voice activity detector, and last long"""


@pytest.fixture
def source(tmp_path):
    """A manifest of 2 x 5 utterances with timings."""
    return tinycorpus.write(tmp_path / "corpus", count=5)


@pytest.fixture
def config(tmp_path, source):
    path = tmp_path / "c.yaml"
    path.write_text(f"corpus: manifest\npath: {source}\nout: {tmp_path / 'out'}\nworkers: 1\n")
    return path


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_clean_corpus_is_kept_whole(config, source, tmp_path):
    told = []
    account = prepare(read_job(config, TONES), lambda what, done, wanted: told.append(what))
    assert (account.read, account.kept, account.dropped, account.code, account.speakers) == (10, 10, {}, 0, 2)
    before, after = read_manifest(source), read_manifest(tmp_path / "out" / "manifest.jsonl")
    for a, b in zip(before, after, strict=True):
        assert (a.id, a.text, a.speaker, a.phones) == (b.id, b.text, b.speaker, b.phones)
        assert b.language == "en" and b.split in ("train", "valid") and b.audio.is_file()
        assert b.duration == pytest.approx(a.duration, abs=1e-3)
    corpus = load_features(account.features)
    assert corpus.ids == [row.id for row in before] and {"sound", "features"} <= set(told)
    assert (tmp_path / "out" / "rejected.jsonl").read_text() == ""
    assert account.told()[0] == "read 10 = kept 10 + dropped 0"


def test_every_utterance_is_kept_or_dropped_with_its_reason(config, source, tmp_path):
    rows = rows_of(source)
    (source.parent / rows[0]["audio"]).unlink()
    (source.parent / rows[1]["audio"]).write_bytes(b"")
    (source.parent / rows[2]["audio"]).write_bytes(b"no sound at all, only text")
    whole = (source.parent / rows[3]["audio"]).read_bytes()
    (source.parent / rows[3]["audio"]).write_bytes(whole[: len(whole) // 2])
    rows[5]["text"], rows[6]["id"], rows[7]["language"] = "", rows[4]["id"], "de"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    account = prepare(read_job(config, TONES))
    rejected = rows_of(tmp_path / "out" / "rejected.jsonl")
    assert (account.read, account.kept, len(rejected), account.code) == (11, 3, 8, 3)
    reasons = {row["reason"] for row in rejected}
    assert {"missing_audio", "empty_audio", "empty_text", "duplicate_id", "unknown_language", "not_json"} < reasons
    assert len(reasons) == 8 and all(row["where"] and row["detail"] for row in rejected)
    assert account.told()[0].startswith("read 11 = kept 3 + dropped 8 (") and "rejected.jsonl" in "".join(
        account.told()
    )
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["read"], report["kept"], report["dropped"]) == (11, 3, 8)


def test_a_second_run_makes_nothing_and_a_change_is_seen(config, source, tmp_path, monkeypatch):
    first = prepare(read_job(config, TONES))
    with monkeypatch.context() as patch:
        patch.setattr(preparing, "clean", lambda *a, **k: pytest.fail("cleaned again"))
        assert (
            prepare(read_job(config, TONES)) == first == Preparation(read_job(config, [*TONES, "workers=2"])).finished()
        )
    assert Preparation(read_job(config, [*TONES, "clean.peak_db=-2"])).finished() is None
    made = read_manifest(tmp_path / "out" / "manifest.jsonl")
    made[0].audio.unlink()
    assert Preparation(read_job(config, TONES)).finished() is None
    again = prepare(read_job(config, TONES))
    assert again == first and made[0].audio.is_file()
    (tmp_path / "out" / "prepared.json").write_text('{"key": 1')
    assert Preparation(read_job(config, TONES)).finished() is None
    rows = rows_of(source)
    source.write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]))
    fewer = prepare(read_job(config, TONES))
    assert fewer.kept == 9 and fewer.features != first.features


def test_rows_without_timings_are_aligned_or_dropped(config, source, tmp_path, monkeypatch):
    rows = [{k: v for k, v in row.items() if k != "phones"} for row in rows_of(source)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def align(found, *_):
        lost = Problem(found[2].id, "a clip", "not_aligned", "its text is not in its sound")
        phones = {row.id: (("pau", 0.1), ("aa", row.duration)) for row in found if row.id != lost.id}
        return Aligned(phones, [lost])

    monkeypatch.setattr(preparing, "align", align)
    account = prepare(read_job(config, TONES))
    assert account.dropped == {"not_aligned": 1} and account.kept == 9 and account.code == 3
    [rejected] = rows_of(tmp_path / "out" / "rejected.jsonl")
    assert rejected["where"] == f"{source}:3" and rejected["id"] == rows[2]["id"]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["reasons"] == {"not_aligned": 1} and report["kept"] == 9
    assert all(len(row.phones) == 2 for row in read_manifest(tmp_path / "out" / "manifest.jsonl"))
    assert prepare(read_job(config, [*TONES, "align=null"])).kept == 10
    assert not any(row.phones for row in read_manifest(tmp_path / "out" / "manifest.jsonl"))


@pytest.mark.parametrize(("name", "rate"), [("22k", 22050), ("44k", 44100)])
def test_other_rates_are_a_base_away(config, tmp_path, name, rate):
    audio = Path(__file__).resolve().parents[3] / "configs" / "audio" / f"{name}.yaml"
    config.write_text(f"base: [{audio}]\n" + config.read_text())
    account = prepare(read_job(config, TONES))
    corpus = load_features(account.features)
    assert account.kept == 10 and corpus.spec.sample_rate == rate and corpus.mel.shape[1] == corpus.spec.n_mels
    assert account.notes[-1].startswith(f"10 of 10 came at less than {rate} Hz: above half their own rate")
    for i, row in enumerate(read_manifest(tmp_path / "out" / "manifest.jsonl")):
        assert corpus.lengths[i] == corpus.spec.frames(round(row.duration * rate))
        assert corpus.durations_of(i).sum() == corpus.lengths[i]
    heard = corpus.pitch[corpus.pitch > 0].astype(float)
    own = [110.0, 190.0]
    assert np.mean([min(abs(f - p) / p for p in own) < 0.03 for f in heard]) > 0.9 and len(heard) > 200
    assert prepare(read_job(config, TONES)) == account  # found, not made again


def test_nothing_usable(config, source, tmp_path, capsys):
    for path in source.parent.rglob("*.wav"):
        path.write_bytes(b"no sound at all")
    assert main([str(config), *TONES]) == 1
    out = capsys.readouterr().out
    assert out.startswith("read 10 = kept 0 + dropped 10 (") and "features" not in out
    assert len(rows_of(tmp_path / "out" / "rejected.jsonl")) == 10


@pytest.mark.parametrize("kind", ["ljspeech", "melotts", "nemo", "melle", "audiofolder"])
def test_an_export_is_a_corpus(kind, source, tmp_path):
    items = [item for item in from_manifest(read_manifest(source)) if item.speaker == "rms"][:3]
    done = export(kind, items, tmp_path / "export")
    path = tmp_path / "again.yaml"
    named = done.path.parent if kind in ("ljspeech", "audiofolder") else done.path
    path.write_text(f"corpus: {kind}\npath: {named}\nout: {tmp_path / 'again'}\nalign: null\nworkers: 1\n")
    assert prepare(read_job(path, TONES)).kept == 3
    found = read_manifest(tmp_path / "again" / "manifest.jsonl")
    assert [(f.id, f.text) for f in found] == [(i.id, i.text) for i in items]


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["out="], "expected str"),
        (["out=''"], "give out"),
        (["workers=0"], "workers is 0"),
        (["clean.sample_rate=22050"], "clean.sample_rate is 22050; the mel spectrogram is of 16000 Hz: set audio"),
        (["clean.trimm=false"], "did you mean 'trim'"),
        (["align.aligner=mfa"], "mfa"),
        (["split.share=2"], "share"),
        (["path=nowhere.jsonl"], "nowhere.jsonl: no such file"),
    ],
)
def test_bad_configs_stop_before_any_work(config, tmp_path, sets, message):
    with pytest.raises(ConfigError, match=message):
        prepare(read_job(config, sets))
    assert not (tmp_path / "out").exists()


def test_the_corpus_itself_is_never_written_into(tmp_path):
    path = tmp_path / "c.yaml"
    (tmp_path / "lj").mkdir()
    path.write_text(f"corpus: ljspeech\npath: {tmp_path / 'lj'}\nout: {tmp_path}/lj/\n")
    with pytest.raises(ConfigError, match="out is the corpus itself"):
        read_job(path)
