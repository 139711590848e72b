"""Anyone's audio: files found by id, text or order; what is missing, extra, silent or broken is named and counted."""

import numpy as np
import pytest
import soundfile

from stages.core.config import ConfigError
from stages.evaluation.folder import pair
from stages.evaluation.run import evaluate, prepare
from stages.evaluation.testset import read_list


@pytest.fixture
def sounds(world, speech):
    """Writes `name -> (samples, rate)` into a folder; gives its path."""

    def write(files, folder="theirs"):
        (world / folder).mkdir(exist_ok=True)
        for name, given in files.items():
            path = world / folder / name
            if isinstance(given, bytes):
                path.write_bytes(given)
            else:
                soundfile.write(path, given[0], given[1])
        return world / folder

    return write


def run(config, *sets, entry="name: theirs, folder: theirs"):
    return evaluate(prepare(config, [f"systems=[{{{entry}}}]", *sets]))


def test_a_folder_is_a_system(config, sounds, speech):
    sounds({f"{n:04d}.wav": (speech[: 4000 * n], 16000) for n in (1, 2, 3, 4)})
    report = run(config)
    (row,) = report.rows
    assert row.spoken == 4 and row.notes == () and report.missing == 0 and report.reference == ""
    assert [item.seconds for item in row.items] == [0.25, 0.5, 0.75, 1.0] and row.rtf is None
    assert report.table().splitlines()[3].endswith("-")


def test_everything_wrong_is_named_and_costs_all_its_words(config, sounds, speech):
    sounds({
        "0001.wav": (speech, 16000), "0002.flac": (np.zeros(8000, np.float32), 16000), "0003.wav": b"no sound at all",
        "stray.wav": (speech, 16000), "notes.txt": b"not a sound",
    })  # fmt: skip
    (row,) = run(config).rows
    assert (row.spoken, [i.wer == 1.0 for i in row.items[1:]]) == (1, [True, True, True])
    notes = " / ".join(row.notes)
    assert "no sound for 1 (0004)" in notes and "belong to no sentence, not scored: 1 (stray.wav)" in notes
    assert "silent: 1 (0002)" in notes and "cannot be read or empty: 1 (0003)" in notes
    assert "its peak is below -60 dB" in row.items[1].error and "0003.wav: cannot be read" in row.items[2].error
    assert row.summary()["coverage"] == 0.25 and sum(row.missing("mcd").values()) == 4


def test_an_empty_file_and_one_of_nan(config, sounds, speech):
    folder = sounds({"0001.wav": (speech, 16000), "0002.wav": (speech[:0], 16000)})
    soundfile.write(folder / "0003.wav", np.full(100, np.nan, np.float32), 16000, subtype="FLOAT")
    (row,) = run(config).rows
    assert "holds no samples" in row.items[1].error and "not numbers" in row.items[2].error and row.spoken == 1


def test_other_rates_are_resampled_for_the_measure_and_named(config, sounds, speech):
    import torch
    import torchaudio

    twice = torchaudio.functional.resample(torch.from_numpy(speech), 16000, 32000).numpy()
    sounds({f"{n:04d}.wav": (speech, 16000) for n in (1, 2, 3, 4)}, "ours")
    sounds({"0001.wav": (twice, 32000), **{f"{n:04d}.wav": (speech, 16000) for n in (2, 3, 4)}})
    both = "systems=[{name: ours, folder: ours}, {name: theirs, folder: theirs}]"
    report = evaluate(prepare(config, [both, "reference=ours"]))
    row = {r.system: r for r in report.rows}["theirs"]
    assert row.notes == ("sample rates differ: 3 at 16000 Hz, 1 at 32000 Hz",)
    assert row.values("mcd")[1] == 0.0 and 0.0 < row.values("mcd")[0] < 0.5
    assert row.values("duration") == [pytest.approx(1.0, abs=1e-3)] * 4


def test_metadata_and_order(config, world, sounds, speech):
    sounds({f"{name}.wav": (speech[: 3000 * (n + 1)], 16000) for n, name in enumerate("dcba")})
    (world / "meta.csv").write_text("d|Hello there.\nc|How are you? I am well.\nb|Another line.\na|\nz|Elsewhere.\n")
    with pytest.raises(ConfigError, match="none of its 4 sounds .*a.wav.* is named after a sentence"):
        run(config)
    (row,) = run(config, entry="name: theirs, folder: theirs, metadata: meta.csv").rows
    assert [item.seconds for item in row.items] == [0.1875, 0.375, None, 0.5625]
    assert any("no text for 1 (a)" in note for note in row.notes) and any("1 (z)" in note for note in row.notes)
    (row,) = run(config, entry="name: theirs, folder: theirs, match: order").rows
    assert [item.seconds for item in row.items] == [0.75, 0.5625, 0.375, 0.1875]
    with pytest.raises(ConfigError, match="4 sounds for 2 sentences"):
        run(config, "limit=2", entry="name: theirs, folder: theirs, match: order")


def test_the_metadata_of_a_folder_can_be_the_test_set(config, world, sounds, speech):
    sounds({"a.wav": (speech, 16000)})
    (world / "meta.jsonl").write_text('{"id": "a", "text": "Hello there."}\n{"id": "b"}\n')
    config.write_text(config.read_text().replace("sentences: s.txt\n", ""))
    report = run(config, entry="name: theirs, folder: theirs, metadata: meta.jsonl")
    assert (
        report.items == 1 and report.rows[0].spoken == 1 and "1 without text, not scored: b (line 2)" in report.notes[0]
    )


def test_names_of_a_test_set_never_become_paths(config, world, sounds, speech):
    soundfile.write(world / "secret.wav", speech, 16000)
    sounds({"a.wav": (speech, 16000)})
    (world / "set.csv").write_text("id,text\na,Hello there.\n../secret,Another line.\n")
    report = run(config, "sentences=set.csv")
    assert report.rows[0].items[1].wer == 1.0 and "no sound for 1 (../secret)" in report.rows[0].notes[0]
    names = sorted(p.name for p in (world / "artifacts/reports/small/sounds").iterdir())
    assert names == ["01-0001.ogg", "01-0001.png"]


def test_several_voices_need_a_folder_each(config, sounds, speech):
    sounds({"0001.wav": (speech, 16000)})
    with pytest.raises(ConfigError, match=r"which of the 2 voices is theirs\? put \{voice\}"):
        run(config, "voices=[rms, slt]")


def test_two_files_of_one_name(world, sounds, speech):
    folder = sounds({"a.wav": (speech, 16000), "a.flac": (speech, 16000)})
    with pytest.raises(ConfigError, match="a.flac and a.wav have one name"):
        pair(str(folder), [])
    (world / "bare").mkdir()
    with pytest.raises(ConfigError, match="bare: holds no sound"):
        pair(str(world / "bare"), [])


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", "One.\n\n Two. \n", [("0001", "One."), ("0003", "Two.")]),
        ("a.csv", "id,text,more\nx,One.,1\ny,,2\n", [("x", "One."), ("y", "")]),
        ("a.csv", "x|One, two.|one two\ny|Two.\n", [("x", "One, two."), ("y", "Two.")]),
        ("a.tsv", "text\tid\nOne.\tx\n", [("x", "One.")]),
        ("a.jsonl", '{"id": 7, "text": "One."}\n\n{"id": "y"}\n', [("7", "One."), ("y", "")]),
    ],
)
def test_lists(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    assert [(line.id, line.text) for line in read_list(str(tmp_path / name))] == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", " \n", "holds no sentences"),
        ("a.doc", "One.", "read from .txt, .csv, .tsv, .jsonl"),
        ("a.csv", "name,text\nx,One.\n", "header has no column id"),
        ("a.csv", "id,text\nx,One.\nx,Two.\n", "lines 2 and 3 have one id, 'x'"),
        ("a.csv", "id,text\n,One.\n", "line 2 has no id"),
        ("a.csv", "x|One.\ny Two.\n", "line 2 has no '|'"),
        ("a.jsonl", '{"id": "x", "text": "One."}\nnope\n', "line 2 is not JSON"),
        ("a.jsonl", '{"text": "One."}\n', "line 1 has no id"),
        ("a.jsonl", '{"id": "x", "text": 3}\n', "line 1: text is 3"),
    ],
)
def test_bad_lists(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message.replace("|", "\\|")):
        read_list(str(tmp_path / name))
    (tmp_path / "bad.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_list(str(tmp_path / "bad.txt"))
