"""Judges of the sound from the command line: say, batch, plan, show; the same whichever way the stages are run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core import route

ROOT = Path(__file__).resolve().parents[2]
LINES = ["Hello there.", "How are you? I am well.", "One more line.", "Please explode."]
SETS = [
    "rerank.judges=[asr, duration]",
    "rerank.accept={duration: 0}",
    "rerank.retries=1",
    "autoregressive.candidates=3",
]
"""fakes of a tenth of a second are never as long as they should be: every sentence is tried again"""
OPTIONS = [part for text in SETS for part in ("--set", text)]

FLOW = """
import json, pathlib, sys
import fakestages
from stages.core import route
fakestages.install(pathlib.Path("."))
route.STAGES["rerank"] = "fakestages.judged.stage:JudgedStage"
route.STAGES["listen"] = "fakestages.listen.stage:ListenStage"
from flows.cli import main
runner, *options = sys.argv[1:]
main(["batch", "list.txt", "--out", runner, "--runner", runner, "--set", f"cache.dir={runner}-cache", "--json",
      "--set", "shard=1", *options])
"""


@pytest.fixture
def listening(caretta, world, monkeypatch):
    monkeypatch.setitem(route.STAGES, "rerank", "fakestages.judged.stage:JudgedStage")
    monkeypatch.setitem(route.STAGES, "listen", "fakestages.listen.stage:ListenStage")
    (world / "list.txt").write_text("\n".join(LINES))
    return caretta


def test_say_and_show_tell_of_threshold_and_retries(listening, world):
    code, out, _ = listening("say", "Hello there.", *OPTIONS, "-o", "a.wav")
    assert code == 0 and "faults: " in out and "below_threshold" in out
    code, out, _ = listening("show", "a.wav")
    assert code == 0 and "threshold not met, the best there was is taken after 1 retry" in out
    assert "of 6 chosen: asr " in out and "heard: " in out
    first = (world / "a.wav").read_bytes()
    code, out, _ = listening("say", "Hello there.", *OPTIONS, "-o", "b.wav", "--json")
    assert set(json.loads(out)["stage_calls"].values()) == {0} and (world / "b.wav").read_bytes() == first


def test_plan_says_that_there_may_be_more(listening, world):
    code, out, _ = listening("plan", "list.txt", *OPTIONS)
    assert code == 0 and "at least that: as many candidates again, once, for each sentence below its threshold" in out
    code, out, _ = listening("plan", "list.txt", *OPTIONS, "--json")
    plan = json.loads(out)
    assert plan["retries"] == 1 and plan["stages"]["diffusion"]["missing"] == plan["stages"]["listen"]["missing"] == 15
    assert listening("batch", "list.txt", "--out", "out", "--runner", "inline", *OPTIONS)[0] == 3  # one line explodes
    plan = json.loads(listening("plan", "list.txt", *OPTIONS, "--json")[1])
    assert plan["stages"]["diffusion"]["missing"] == 3 and plan["open_sentences"] == 1


def test_mistakes_are_refused_before_any_work(listening, world):
    for sets, sentence in (
        (["rerank.judges=[asl]"], "rerank: judges: unknown judge 'asl'; did you mean 'asr'?"),
        (["rerank.judges=[asr]", "rerank.retries=3"], "retries without a threshold would never be made"),
        (["rerank.accept.asr=0.1"], "asr has a threshold but is no judge"),
    ):
        code, _, err = listening("batch", "list.txt", "--out", "out", *(p for s in sets for p in ("--set", s)))
        assert code != 0 and sentence in err and "Traceback" not in err and not (world / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_the_flow_gives_what_a_run_in_process_gives(tmp_path, runner):
    (tmp_path / "list.txt").write_text("\n".join(LINES))
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    paths = f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'fakes'}"
    reports = {}
    for name in ("inline", runner):
        done = subprocess.run(
            [sys.executable, "-c", FLOW, name, *OPTIONS], cwd=tmp_path, check=False, capture_output=True, text=True,
            timeout=240, env=clean | {"PYTHONPATH": paths},
        )  # fmt: skip
        lines = [line for line in done.stdout.splitlines() if line.startswith('{"items"')]
        assert lines, done.stderr[-2000:]
        reports[name] = json.loads(lines[0])
    assert reports["inline"]["stage_calls"] == reports[runner]["stage_calls"]
    assert reports["inline"]["stage_calls"]["diffusion"] == 4 * 6 and reports["inline"]["failed"] == 1
    for sound in sorted((tmp_path / "inline").glob("*.wav")):
        assert sound.read_bytes() == (tmp_path / runner / sound.name).read_bytes()
    assert (tmp_path / "inline" / "manifest.jsonl").read_bytes() == (tmp_path / runner / "manifest.jsonl").read_bytes()
