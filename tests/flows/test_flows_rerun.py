"""`caretta batch` run again: what is kept, what a listener chose, what `plan` foretells and `show` tells."""

import json

import pytest
import soundfile

from flows import cli

LINES = ["Hello there.", "How are you? I am well.", "One more line."]


@pytest.fixture
def batch(caretta, world):
    """Runs `caretta batch` on LINES inline; gives its JSON report."""
    (world / "list.txt").write_text("\n".join(LINES))

    def run(*argv, out="out"):
        code, printed, err = caretta("batch", "list.txt", "--out", out, "--runner", "inline", "--json", *argv)
        assert code == 0, err
        return json.loads(printed.splitlines()[-1])

    return run


def sounds(folder):
    return {p.name: p.read_bytes() for p in folder.glob("*.wav")}


def rows(folder):
    return {row["id"]: row for row in map(json.loads, (folder / "manifest.jsonl").read_text().splitlines())}


def tree(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_rerun_keeps_every_line_without_the_store(batch, world):
    first = batch()
    before = tree(world / "out")
    (world / "artifacts" / "cache").rename(world / "artifacts" / "gone")
    again = batch()
    assert (first["kept"], again["kept"]) == (0, 3) and set(again["stage_calls"].values()) == {0}
    assert tree(world / "out") == before


@pytest.mark.parametrize("name", ["0001.wav", "0002.wav", "manifest.jsonl", "SHA256SUMS"])
def test_damaged_output_is_written_anew(batch, world, name):
    batch()
    before = tree(world / "out")
    for place in (0, len(before[name]) // 2, len(before[name]) - 1):
        damaged = bytearray(before[name])
        damaged[place] ^= 4
        (world / "out" / name).write_bytes(damaged)
        assert set(batch()["stage_calls"].values()) == {0}
        assert tree(world / "out") == before


def test_lines_are_written_as_they_are_finished(batch, world, monkeypatch):
    from fakestages.vocoder.stage import VocoderStage

    speak, calls = VocoderStage.run, []

    def die_later(self, batch, *, seeds):
        calls.append(len(batch))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return speak(self, batch, seeds=seeds)

    monkeypatch.setattr(VocoderStage, "run", die_later)
    assert cli.main(["batch", "list.txt", "--out", "out", "--runner", "inline", "--set", "shard=1"]) == 130
    assert len(sounds(world / "out")) >= 1 and not (world / "out" / "manifest.jsonl").exists()


def test_one_edited_line_runs_alone(batch, world):
    batch()
    (world / "list.txt").write_text("\n".join([LINES[0], LINES[1], "Another line."]))
    report = batch()
    assert report["kept"] == 2
    assert report["stage_calls"] == {"text": 1, "autoregressive": 6, "rerank": 1, "diffusion": 1, "vocoder": 1}


def test_more_candidates_and_other_steps_redo_only_what_follows(batch):
    batch()
    calls = batch("--set", "diffusion.steps=9")["stage_calls"]
    assert (calls["text"], calls["autoregressive"], calls["rerank"], calls["diffusion"]) == (0, 0, 0, 4)
    assert batch("--set", "autoregressive.candidates=16")["stage_calls"]["autoregressive"] == 4 * 10


def test_order_and_shards_change_nothing(batch, world):
    batch()
    before = sounds(world / "out")
    (world / "list.jsonl").write_text(
        "\n".join(json.dumps({"id": f"{n + 1:04d}", "text": LINES[n]}) for n in (2, 0, 1))
    )
    assert cli.main(["batch", "list.jsonl", "--out", "other", "--runner", "inline", "--set", "shard=1"]) == 0
    assert sounds(world / "other") == before


def test_redo_gives_another_reading_that_stays(batch, world):
    batch()
    before = sounds(world / "out")
    assert batch("--redo", "0001")["kept"] == 2
    redone = sounds(world / "out")
    assert [redone[n] == before[n] for n in sorted(before)] == [False, True, True]
    assert batch()["kept"] == 3 and rows(world / "out")["0001"]["seed"] == 1
    (world / "out" / "choices.yaml").unlink()  # the way back
    batch()
    assert sounds(world / "out") == before


def test_pick_takes_that_candidate_and_stays(batch, world):
    batch()
    judged = rows(world / "out")["0001"]["scores"][0]["chosen"]
    pick = (judged + 1) % 6
    report = batch("--pick", f"0001={pick}", "0002:2=3")
    assert report["stage_calls"]["autoregressive"] == 0 and report["stage_calls"]["diffusion"] == 2
    found = rows(world / "out")
    assert found["0001"]["scores"][0]["chosen"] == pick and found["0002"]["scores"][1]["chosen"] == 3
    assert batch()["kept"] == 3


def test_choice_of_a_changed_text_is_dropped_aloud(batch, caretta, world):
    batch("--pick", "0001=2")
    (world / "list.txt").write_text("\n".join(["Something else.", *LINES[1:]]))
    code, _, err = caretta("batch", "list.txt", "--out", "out", "--runner", "inline")
    assert code == 0 and "0001: its text has changed" in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a", "choices.yaml: must hold a mapping"),
        ("'0001': 3", "choices.yaml: 0001: must be a mapping of text, reading and picks"),
        ("'0001': {text: x, reding: 1}", "unknown key 'reding'; did you mean 'reading'"),
        ("'0001': {text: x, reading: 2, check: y}", "0001: was changed by hand or is damaged; delete it"),
    ],
)
def test_bad_choices_file(caretta, world, content, message):
    (world / "list.txt").write_text("Hello.")
    (world / "out").mkdir()
    (world / "out" / "choices.yaml").write_text(content)
    code, _, err = caretta("batch", "list.txt", "--out", "out", "--runner", "inline")
    assert code == 1 and message in err


def test_plan_foretells_what_runs(batch, caretta, world):
    def plan(*argv):
        return json.loads(caretta("plan", "list.txt", "--json", *argv)[1])

    (world / "list.txt").write_text("\n".join(LINES))
    cold = plan()
    assert not (world / "out").exists() and cold["seconds"] is None  # nothing is written, nothing is invented
    assert {k: v["missing"] for k, v in cold["stages"].items()} == batch()["stage_calls"]
    changed = plan("--set", "diffusion.steps=9")
    assert {k: v["missing"] for k, v in changed["stages"].items()} == {
        "text": 0, "autoregressive": 0, "rerank": 0, "diffusion": 4, "vocoder": 4,
    }  # fmt: skip
    assert changed["seconds"] > 0 and not changed["stages"]["diffusion"]["same_settings"]
    warm = plan()
    assert (warm["kept"], warm["open_sentences"], warm["seconds"]) == (3, 0, 0)
    assert "3 lines: 3 written already; 0 sentences lack" in caretta("plan", "list.txt")[1]


def test_show_tells_the_lineage_of_a_file_an_id_and_a_key(batch, caretta, world):
    batch()
    key = rows(world / "out")["0001"]["key"]
    told = [caretta("show", target) for target in ("out/0001.wav", "0001", key)]
    assert told[0] == told[1] == told[2] and told[0][0] == 0
    for word in ("Hello there.", "voice rms", "seed 0", "autoregressive v1", "candidate", "python"):
        assert word in told[0][1]
    two = json.loads(caretta("show", "0002", "--json")[1])
    assert [record["text"] for record in two] == ["How are you?", "I am well."]


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (["--set", "diffusion.steps=9"], "diffusion.steps: 6 and 9"),
        (["--seed", "4"], "seed: 0 and 4"),
        (["--voice", "slt"], "voice: 'rms' and 'slt'"),
        (["--set", "autoregressive.candidates=7"], "autoregressive: 6 candidates and 7"),
        (["--pick", "0001=0"], "pick: candidate None and 0"),
        (["--set", "pauses.sentence=0.3"], "they do not differ"),
    ],
)
def test_diff_names_the_reason_in_one_line(batch, caretta, sets, expected):
    batch()
    batch(*sets, out="other")
    code, out, _ = caretta("show", "--diff", "out/0001.wav", "other/0001.wav")
    assert code == 0 and expected in out and out.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nothing"], "is neither a sound file nor an id in out/manifest.jsonl"),
        ([], "name one sound file or id, or two with --diff A B"),
        (["plain.wav"], "does not say where it came from"),
        (["list.txt"], "list.txt: it is not a sound file"),
        (["0" * 64], "has no record of it"),
    ],
)
def test_show_of_what_it_does_not_know(caretta, world, argv, message):
    (world / "list.txt").write_text("Hello.")
    soundfile.write(world / "plain.wav", [0.0] * 100, 16000)
    code, _, err = caretta("show", *argv)
    assert code == 1 and message in err and "Traceback" not in err


def test_diff_of_longer_texts_names_sentence_and_pauses(batch, caretta):
    batch()
    batch("--set", "pauses.sentence=0.3", out="pauses")
    batch("--pick", "0002:2=0", out="picked")
    assert (
        "pauses (sentence, paragraph, title): [0.2," in caretta("show", "--diff", "out/0002.wav", "pauses/0002.wav")[1]
    )
    assert "sentence 2: pick" in caretta("show", "--diff", "out/0002.wav", "picked/0002.wav")[1]


def test_book_gives_a_file_per_chapter(caretta, world):
    (world / "book.txt").write_text("# The Fog\n\nIt came in.\n\nIt stayed.\n\n# The Sun\n\nIt went.\n")
    code, _, err = caretta("batch", "book.txt", "--book", "--out", "out", "--runner", "inline", "--format", "flac")
    assert code == 0, err
    found = rows(world / "out")
    assert list(found) == ["01-the-fog", "02-the-sun"] and found["01-the-fog"]["title"] == "The Fog"
    samples, rate = soundfile.read(world / "out" / found["01-the-fog"]["path"])
    assert rate == 16000 and len(samples) > 1.7 * rate  # the pauses alone are 1.2 + 0.5 s


def test_exit_code_counts_what_failed(caretta, world):
    (world / "list.txt").write_text("Fine.\nPlease explode.\n")
    code, out, _ = caretta("batch", "list.txt", "--out", "out", "--runner", "inline")
    assert code == 3 and "2 lines = 1 ok + 1 failed" in out
