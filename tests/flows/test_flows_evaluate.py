"""`caretta evaluate`: what it prints, how it exits, and one clear sentence for every bad input."""

import json

import pytest

from flows import cli
from stages.evaluation import intelligibility


@pytest.fixture
def caretta(world, capsys, monkeypatch):
    """Runs `caretta evaluate small.yaml` without the flow engine; gives (exit code, stdout, stderr)."""
    fake = intelligibility.Recogniser("fake", lambda data: "hello there", lambda: "fake 1")
    monkeypatch.setitem(intelligibility.RECOGNISERS, "fake", fake)
    (world / "s.txt").write_text("Hello there.\nHow are you?")
    (world / "small.yaml").write_text(
        "sentences: s.txt\nrecogniser: fake\nworkers: 1\nsystems: [pipeline]\nmeasures: []\nflow: false\ndraws: 200\n"
    )

    def run(*sets):
        code = cli.main(["evaluate", "small.yaml", *(part for s in sets for part in ("--set", s))])
        return (code, *capsys.readouterr())

    return run


def test_prints_a_table_and_one_json_line(caretta, world):
    code, out, err = caretta()
    line = json.loads(out.splitlines()[-1])
    assert code == 0 and err == "" and out.startswith("coverage: 2 of 2")
    assert line["systems"][0]["wer"] == 0.6 and line["systems"][0]["coverage"] == 1.0
    assert (world / "artifacts/reports/small/report.html").read_text().startswith("<!doctype html>")


def test_missing_items_give_exit_code_3(caretta, world, monkeypatch):
    from fakestages.vocoder.stage import VocoderStage

    def broken(self, batch, *, seeds):
        raise RuntimeError("boom")

    monkeypatch.setattr(VocoderStage, "run", broken)
    code, out, _ = caretta()
    line = json.loads(out.splitlines()[-1])
    assert code == 3 and line["missing"] == 2 and line["systems"][0]["wer"] == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sentences=nowhere.txt", "nowhere.txt: no such file of sentences"),
        ("systems=[orcale]", "unknown system 'orcale'; did you mean 'oracle'"),
        ("sentances=s.txt", "unknown key 'sentances'; did you mean 'sentences'"),
        ("sentences=empty.txt", "empty.txt: holds no sentences"),
    ],
)
def test_bad_input_is_one_sentence(caretta, world, change, message):
    (world / "empty.txt").write_text("\n")
    code, out, err = caretta(change)
    assert code == 1 and out == "" and message in err and len(err.splitlines()) == 1


def test_missing_configuration(capsys):
    assert cli.main(["evaluate", "none.yaml"]) == 1
    assert "none.yaml: no such configuration file" in capsys.readouterr().err


def test_a_system_that_cannot_run_gives_exit_code_3_and_no_number(caretta, world):
    (world / "routes" / "broken.yaml").write_text("stages: [text, nothing]\n")
    with open(world / "small.yaml", "a") as file:
        file.write("matrix: {presets: [fast]}\nsummary: kept.json\n")
    code, out, _ = caretta("systems=[pipeline]")
    line = json.loads(out.splitlines()[-1])
    assert code == 3 and list(line["failed"]) == ["broken/fast"] and "failed: broken/fast: " in out
    assert [s["system"] for s in line["systems"]] == ["pipeline", "tortoise/fast"]
    assert "| broken/fast | failed:" in out and json.loads((world / "kept.json").read_text())["failed"]


def test_the_ui_gets_the_report_and_a_server_that_takes_none_fails_nothing(caretta, world, monkeypatch):
    import logging

    import prefect
    from prefect import artifacts

    from flows.evaluate import show
    from stages.evaluation.run import evaluate, prepare

    shown = {}
    log = logging.getLogger("test")
    monkeypatch.setattr(prefect, "get_run_logger", lambda: log)
    for kind in ("link", "markdown", "table"):
        monkeypatch.setattr(
            artifacts,
            f"create_{kind}_artifact",
            lambda value, key, kind=kind, **more: shown.update({key: (kind, value)}),
        )
    report = evaluate(prepare("small.yaml"))
    show(report, world / "artifacts/reports/small")
    assert {key: kind for key, (kind, _) in shown.items()} == {
        "evaluate-report": "link", "evaluate-summary": "markdown", "evaluate-worst": "table",
    }  # fmt: skip
    assert shown["evaluate-report"][1].endswith("report.html") and "| pipeline |" in shown["evaluate-summary"][1]
    assert [row["id"] for row in shown["evaluate-worst"][1]] == ["0002"]

    def refuse(*values, **more):
        raise RuntimeError("no room")

    monkeypatch.setattr(artifacts, "create_markdown_artifact", refuse)
    show(report, world / "artifacts/reports/small")
