import json
import os
import shutil

import numpy as np
import pytest
import soundfile
import tinycorpus

from stages.core import hearing
from stages.core.config import ConfigError, build
from stages.data import cleaning, clips
from stages.data.cleaning import CleanConfig, Cleaned, clean
from stages.data.isolation import isolated
from stages.data.recording import Problem, Recording
from stages.data.split import SplitConfig

RATE = 16000
OPEN = {"min_characters_per_second": 0.0, "max_characters_per_second": 1000.0}
WORDS = (
    "the old ferry leaves",
    "every morning while",
    "small boats wait near",
    "a quiet harbor wall",
    "seven red lamps",
)


@pytest.fixture
def corpus(tmp_path):
    """Five recordings of one speaker in tmp_path/source."""
    source = tmp_path / "source"
    source.mkdir()
    return [recording(source, n, text) for n, text in enumerate(WORDS)]


def recording(folder, n, text, **values):
    path = folder / f"{n}.wav"
    phones = tinycorpus.speak("rms", text, path)
    return Recording(**{"id": f"u{n}", "audio": path, "text": text, "speaker": "rms", "where": f"list.txt:{n + 1}",
                        "phones": tuple(phones), **values})  # fmt: skip


def run(recordings, out, split=None, **config):
    return clean(recordings, CleanConfig(**OPEN | config), out, 1, split_config=split)


def changed(recordings, n, **values):
    found = {**vars(recordings[n]), **values}
    return [*recordings[:n], Recording(**found), *recordings[n + 1 :]]


def reasons(cleaned):
    return {p.id: p.reason for p in cleaned.dropped}


def test_rows_are_what_a_manifest_needs(corpus, tmp_path):
    out = tmp_path / "out"
    cleaned = run(corpus, out)
    assert cleaned.read == 5 and not cleaned.dropped and cleaned.made == 5
    for row, source in zip(cleaned.rows, corpus, strict=True):
        info = soundfile.info(row.audio)
        assert (info.samplerate, info.channels, info.subtype, info.format) == (RATE, 1, "PCM_16", "FLAC")
        assert row.duration == pytest.approx(info.duration, abs=1e-4) and row.phones[-1][1] == row.duration
        assert [p for p, _ in row.phones if p != "pau"] == [p for p, _ in source.phones if p != "pau"]
        assert row.lufs == -23.0 or "gain_limited" in row.clip.notes
        plain = row.manifest(out)
        assert out / plain["audio"] == row.audio and plain["id"] == source.id
        assert json.loads(json.dumps(plain)) == plain
    assert [r.split for r in cleaned.rows].count("valid") == 1


def test_silence_goes_and_timings_follow(corpus, tmp_path):
    samples, _ = soundfile.read(corpus[0].audio, dtype="float32")
    quiet = np.zeros(2 * RATE, np.float32)
    soundfile.write(corpus[0].audio, np.concatenate([quiet, samples, quiet]), RATE)
    late = tuple((p, end + 2.0) for p, end in corpus[0].phones)
    cleaned = run(changed(corpus, 0, phones=late), tmp_path / "out", loudness_lufs=None)
    row = cleaned.rows[0]
    assert 3.0 < row.clip.trimmed < 4.0
    moved, _ = soundfile.read(row.audio, dtype="float32")
    for (_, a), (phone, _) in zip(row.phones, row.phones[1:], strict=False):
        if phone != "pau":  # the same samples lie below the same phone
            at = round((a + row.clip.start - 2.0) * RATE)
            assert np.abs(moved[round(a * RATE) :][:200] - samples[at : at + 200]).max() < 0.05
    untouched = run(changed(corpus, 0, phones=late), tmp_path / "whole", trim=False, loudness_lufs=None).rows[0]
    assert untouched.duration == pytest.approx(len(samples) / RATE + 4) and untouched.clip.trimmed == 0


def test_16_bit_sound_that_needs_nothing_is_not_changed(corpus, tmp_path):
    row = run(corpus, tmp_path / "out", trim=False, loudness_lufs=None).rows[1]
    before, after = (soundfile.read(p, dtype="int16")[0] for p in (corpus[1].audio, row.audio))
    assert (before == after).all() and row.clip.notes == () and row.clip.gain_db == 0


def test_a_second_run_opens_nothing(corpus, tmp_path, monkeypatch):
    first = run(corpus, tmp_path / "out")
    monkeypatch.setattr(clips, "clip_of", lambda *a: pytest.fail("opened again"))
    for config in ({}, {"max_seconds": 1.0}, {"duplicate_texts": False}):
        assert run(corpus, tmp_path / "out", **config).made == 0
    second = run(corpus, tmp_path / "out")
    assert second.rows == first.rows
    for source in corpus:
        os.utime(source.audio, (1, 1))
    os.utime(first.rows[0].audio, (1, 1))
    assert run(corpus, tmp_path / "out").made == 0  # touched, not changed


def test_only_what_changed_is_made_again(corpus, tmp_path):
    out = tmp_path / "out"
    first = run(corpus, out)
    first.rows[0].audio.write_bytes(b"damaged")
    first.rows[1].audio.unlink()
    samples, _ = soundfile.read(corpus[2].audio)
    soundfile.write(corpus[2].audio, samples[::-1], RATE)
    corpus = changed(corpus, 2, phones=())
    again = run(corpus, out)
    assert again.made == 3 and run(corpus, out).made == 0
    assert [r.audio for r in again.rows[:2]] == [r.audio for r in first.rows[:2]]
    assert again.rows[2].audio != first.rows[2].audio
    assert all(soundfile.info(r.audio).frames for r in again.rows)
    assert run(corpus, out, padding_ms=10.0).made == 5


@pytest.mark.parametrize("keep", [0, 1, 60])
def test_a_crash_in_the_middle_costs_what_was_not_written(corpus, tmp_path, keep):
    out = tmp_path / "out"
    first = run(corpus, out)
    lines = (out / "clips.jsonl").read_bytes().splitlines(keepends=True)
    (out / "clips.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:keep])
    for name in ("report.html", "report.json", "measurements.jsonl"):
        (out / name).unlink()
    again = run(corpus, out)
    assert again.made == 2 and [r.audio for r in again.rows] == [r.audio for r in first.rows]
    assert run(corpus, out).made == 0 and again.report.exists()


@pytest.mark.parametrize("line", ['{"key": 1}', "[]", "null", '{"key": "x", "clip": {"audio": "../../etc"}}', "\x00"])
def test_strange_lines_of_a_journal_are_not_used(corpus, tmp_path, line):
    out = tmp_path / "out"
    run(corpus, out)
    (out / "clips.jsonl").write_text(line + "\n" + (out / "clips.jsonl").read_text())
    assert run(corpus, out).made == 0


def test_a_moved_corpus_is_found_done(corpus, tmp_path):
    run(corpus, tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "moved")
    assert run(corpus, tmp_path / "moved").made == 0


def test_nothing_is_lost_and_bad_files_stop_nobody(corpus, tmp_path):
    folder = corpus[0].audio.parent
    for name, data in (("empty", b""), ("text", b"hello"), ("cut", corpus[0].audio.read_bytes()[:9000])):
        (folder / f"{name}.wav").write_bytes(data)
    soundfile.write(folder / "zeros.wav", np.zeros(RATE), RATE)
    soundfile.write(folder / "click.wav", np.eye(1, RATE, 8000)[0], RATE)
    (folder / "other.flac").write_bytes(b"")
    bad = {"empty": "empty_audio", "text": "unreadable_audio", "cut": "truncated_audio", "zeros": "silent_audio",
           "gone": "missing_audio", "other": "missing_audio", "click": "no_speech"}  # fmt: skip
    more = [Recording(n, folder / f"{n}.wav", f"text of {n}", "rms", f"x:{n}") for n in bad]
    more.append(Recording("folder", folder, "a folder", "rms", "x:9"))
    more.append(Recording("nul", folder / "a\0b.wav", "a name", "rms", "x:10"))
    before = Problem("row9", "list.txt:9", "missing_column", "list.txt:9: has two columns")
    cleaned = run([before, *corpus, *more], tmp_path / "out")
    wanted = bad | {"row9": "missing_column", "folder": "unreadable_audio", "nul": "unreadable_audio"}
    assert reasons(cleaned) == wanted and cleaned.read == 15 and len(cleaned.rows) == 5
    assert before in cleaned.dropped
    details = {p.id: p.detail for p in cleaned.dropped}
    assert "did you mean other.flac?" in details["other"]
    assert all("\n" not in d and (str(folder) in d or n == "row9") for n, d in details.items())


def test_whatever_a_decoder_raises_is_that_files_problem(corpus, tmp_path, monkeypatch):
    real = clips.decode

    def decode(data, name):
        if name.endswith("2.wav"):
            raise MemoryError("strange file")
        return real(data, name)

    monkeypatch.setattr(clips, "decode", decode)
    cleaned = run(corpus, tmp_path / "out")
    assert reasons(cleaned) == {"u2": "unreadable_audio"} and "strange file" in cleaned.dropped[0].detail
    monkeypatch.setattr(clips, "decode", real)
    assert not run(corpus, tmp_path / "out").dropped  # it was not held against the file


def test_texts_timings_and_ids_are_checked(corpus, tmp_path):
    items = changed(corpus, 0, text="  ")
    items = changed(items, 1, text="… !?")
    items = changed(items, 2, phones=(("pau", 0.3), ("ax", 0.2)))
    items = changed(items, 3, phones=(("pau", 0.3), ("ax", 99.0)))
    items.append(Recording(**{**vars(corpus[4]), "where": "list.txt:77"}))
    cleaned = run(items, tmp_path / "out")
    assert reasons(cleaned) == {"u0": "empty_text", "u1": "no_words", "u2": "bad_timings", "u3": "bad_timings",
                                "u4": "duplicate_id"}  # fmt: skip
    assert [r.id for r in cleaned.rows] == ["u4"]
    assert "list.txt:77" in cleaned.dropped[-1].detail and "list.txt:5" in cleaned.dropped[-1].detail


def test_limits(corpus, tmp_path):
    out, seconds = tmp_path / "out", [r.duration for r in run(corpus, tmp_path / "out").rows]
    assert set(reasons(run(corpus, out, min_seconds=max(seconds) + 0.1)).values()) == {"too_short"}
    assert set(reasons(run(corpus, out, max_seconds=min(seconds) - 0.1)).values()) == {"too_long"}
    assert set(reasons(run(corpus, out, max_characters_per_second=1.0)).values()) == {"too_fast"}
    assert set(reasons(run(corpus, out, min_characters_per_second=999.0)).values()) == {"too_slow"}
    assert set(reasons(run(corpus, out, min_snr_db=500.0)).values()) <= {"noisy"}
    loud, _ = soundfile.read(corpus[3].audio)
    soundfile.write(corpus[3].audio, np.clip(20 * loud, -1, 1), RATE)
    assert reasons(run(corpus, out)) == {"u3": "clipped"}


def test_duplicates_keep_the_first(corpus, tmp_path):
    folder = corpus[0].audio.parent
    samples, _ = soundfile.read(corpus[0].audio, dtype="int16")
    soundfile.write(folder / "same.flac", samples, RATE)
    items = [*corpus, Recording("same", folder / "same.flac", WORDS[0], "rms", "x:1")]
    items.append(recording(folder, 7, WORDS[1].upper() + "!", phones=()))
    soundfile.write(items[-1].audio, 0.5 * soundfile.read(items[-1].audio)[0], RATE)
    items.append(Recording(**{**vars(items[-1]), "id": "slt1", "speaker": "slt"}))
    soundfile.write(folder / "slt.wav", 0.4 * soundfile.read(items[-1].audio)[0], RATE)
    items[-1] = Recording(**{**vars(items[-1]), "audio": folder / "slt.wav"})
    cleaned = run(items, tmp_path / "out")
    assert reasons(cleaned) == {"same": "duplicate_sound", "u7": "duplicate_text"}
    assert "u0 (list.txt:1)" in cleaned.dropped[0].detail and "u1 (list.txt:2)" in cleaned.dropped[1].detail
    both = run(items, tmp_path / "out", duplicate_sounds=False, duplicate_texts=False)
    assert not both.dropped


def test_conversions_are_told(corpus, tmp_path):
    samples, _ = soundfile.read(corpus[0].audio)
    soundfile.write(corpus[0].audio, np.stack([samples, samples], axis=1), RATE, subtype="PCM_U8")
    soundfile.write(corpus[1].audio, 5 * np.repeat(samples, 2), 2 * RATE, subtype="FLOAT")
    items = changed(changed(corpus, 0, phones=()), 1, phones=())
    cleaned = run(items, tmp_path / "out", max_clipped=1.0)
    said = "\n".join(cleaned.notes)
    for part in ("channels were averaged", "8-bit", "floating-point", "1 of 5: the sound was resampled", "32000 Hz"):
        assert part in said, part
    assert all(np.abs(soundfile.read(r.audio)[0]).max() <= 10 ** (-1 / 20) + 1e-3 for r in cleaned.rows)


def test_transcripts_that_differ_are_dropped(corpus, tmp_path, monkeypatch):
    calls = []

    def listen(data):
        calls.append(data)
        return "the old ferry leaves"

    monkeypatch.setitem(hearing.RECOGNISERS, "fake", hearing.Recogniser("fake", listen, lambda: "1"))
    items = changed(corpus, 1, language="de")
    cleaned = run(items, tmp_path / "out", mismatch=0.4, recogniser="fake")
    assert reasons(cleaned) == {f"u{n}": "transcript_mismatch" for n in (2, 3, 4)}
    assert "'the old ferry leaves'" in cleaned.dropped[0].detail
    assert [r.id for r in cleaned.rows] == ["u0", "u1"] and cleaned.rows[0].heard.cer == 0
    assert "1 transcripts were not checked: fake hears English only" in cleaned.notes
    run(items, tmp_path / "out", mismatch=0.9, recogniser="fake")
    assert len(calls) == 4


def test_worker_processes_change_nothing(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(cleaning, "isolated", lambda *a: isolated(*a, chunk=2, few=0))
    config = CleanConfig(**OPEN)
    alone = [r.clip.digest for r in run(corpus, tmp_path / "one").rows]
    two = clean(corpus, config, tmp_path / "two", 2)
    assert [r.clip.digest for r in two.rows] == alone and [r.id for r in two.rows] == [r.id for r in corpus]


def test_speakers_to_hold_out(corpus, tmp_path):
    items = changed(corpus, 4, speaker="slt")
    cleaned = run(items, tmp_path / "out", SplitConfig(speakers=("slt",)))
    assert [r.split for r in cleaned.rows] == ["train"] * 4 + ["valid"]
    with pytest.raises(ConfigError, match="no speaker 'stl'; did you mean 'slt'"):
        run(items, tmp_path / "new", SplitConfig(speakers=("stl",)))
    assert not (tmp_path / "new").exists()
    items = changed(items, 4, text="")
    assert "valid" in [r.split for r in run(items, tmp_path / "out", SplitConfig(speakers=("slt",))).rows]


def test_an_empty_corpus_has_a_report(tmp_path):
    cleaned = run([Problem("a", "x:1", "missing_column", "x:1: has one column")], tmp_path / "out")
    assert (cleaned.rows, cleaned.read, cleaned.report.exists()) == ([], 1, True)
    with pytest.raises(AssertionError, match="are not 2 read"):
        Cleaned([], [], 2, [], tmp_path)


@pytest.mark.parametrize(
    "values",
    [{"sample_rate": 7}, {"loudness_lufs": 3.0}, {"peak_db": 1.0}, {"padding_ms": -1.0}, {"min_seconds": 30.0},
     {"max_clipped": 2.0}, {"mismatch": -1.0}, {"max_characters_per_second": 1.0}, {"worst": -1},
     {"mismatch": float("nan")}, {"max_secs": 1}],
)  # fmt: skip
def test_wrong_settings_are_told(values):
    with pytest.raises(ConfigError, match=next(iter(values)).replace("max_characters", "_characters")):
        build(CleanConfig, values, "clean")


def test_a_folder_that_cannot_be_written_is_one_sentence(corpus, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        run(corpus, tmp_path / "file" / "out")
