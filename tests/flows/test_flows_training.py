"""`caretta prepare` and `caretta train` as real flows with their embedded server, from a fake teacher to a sentence."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
import yaml

from flows import cli

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("codes", "autoregressive", "rerank", "diffusion", "vocoder")
TRAINED = (*MODELS, "vits")


def environment():
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return clean | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'fakes'}"}


WORLD = """
import contextlib, io, json, pathlib, sys
import tinycorpus
from stages.data.corpora import grammar, starter
root = pathlib.Path(sys.argv[1])
tinycorpus.write_wordnet(pathlib.Path("wordnet"))
starter.speak, made = tinycorpus.speak, grammar.sentences(300, 1)
grammar.sentences = lambda count, seed: list(made)
from flows.cli import main
tiny = str(root / "configs" / "tiny")
models = ("autoregressive", "rerank", "diffusion", "vocoder")
hours = ["--set", "hours.rms=0.005", "--set", "hours.slt=0.003"]
checkpoints = [f"--set={m}.checkpoint=artifacts/runs/tiny/{m}/checkpoint" for m in models]

def call(*argv):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(argv))
    return [code, out.getvalue(), err.getvalue()]

def say(name, *more):
    clip = max(pathlib.Path("artifacts/data/tiny/audio/rms").iterdir(), key=lambda p: p.stat().st_size)
    return call("say", "Seven red lamps.", "--voice", str(clip), "-o", name, "--json", *checkpoints, *more)

results = {
    "prepare": call("prepare", tiny + "/data.yaml", "--set", "wordnet=wordnet", *hours),
    "train": call("train", tiny + "/train"),
    "a": say("a.wav"), "b": say("b.wav", "--set", "cache.dir=other"), "c": say("c.wav", "--seed", "1"),
    "again": call("train", tiny + "/train"),
    "changed": call("train", tiny + "/train/codes.yaml", "--set", "network.depth=2"),
    "key": call("train", tiny + "/train", "--set", "trainer.stepz=2"),
    "nowhere": call("train", "nowhere.yaml"),
    "corpus": call("prepare", tiny + "/data.yaml", "--set", "huors.rms=1"),
}
print(json.dumps(results))
"""


@pytest.fixture(scope="session")
def world_of_models(tmp_path_factory):
    """A folder with a prepared corpus and the tiny trained models, and what every command said (code, out, err)."""
    folder = tmp_path_factory.mktemp("training")
    done = subprocess.run(
        [sys.executable, "-c", WORLD, str(ROOT)], cwd=folder, check=False, capture_output=True, text=True, timeout=400,
        env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout.splitlines()[-1])


def test_corpus_and_models_lie_where_their_configs_say(world_of_models):
    folder, said = world_of_models
    assert said["prepare"][0] == said["train"][0] == 0, said
    assert "speakers rms, slt" in said["prepare"][1]
    lines = said["train"][1].splitlines()
    assert [line.split(":")[0] for line in lines] == list(TRAINED)  # in the order of need
    assert all(": step 6 of 6 in " in line for line in lines)
    metas = {m: json.loads((folder / f"artifacts/runs/tiny/{m}/checkpoint/meta.json").read_text()) for m in TRAINED}
    assert all(meta["step"] == 6 and meta["stage"] == m for m, meta in metas.items())
    assert len({metas[m]["codebook"] for m in ("autoregressive", "rerank", "diffusion")}) == 1


def test_a_rerun_trains_nothing_and_a_changed_config_keeps_the_older_run(world_of_models):
    folder, said = world_of_models
    code, out, err = said["again"]
    assert code == 0 and err == "" and out.count("(trained already)") == len(TRAINED)
    code, out, err = said["changed"]
    assert code == 0 and out.startswith("codes: step 6 of 6 in ") and "(trained already)" not in out
    (kept,) = (p for p in (folder / "artifacts/runs/tiny").iterdir() if p.name.startswith("codes-"))
    assert f"kept in artifacts/runs/tiny/{kept.name}" in err
    depths = [
        yaml.safe_load((p / "checkpoint/config.yaml").read_text())["depth"]
        for p in (kept, folder / "artifacts/runs/tiny/codes")
    ]
    assert depths == [1, 2]


def test_tiny_models_speak_and_a_seed_is_a_reading(world_of_models):
    folder, said = world_of_models
    for name in "abc":
        code, out, err = said[name]
        report = json.loads(out.splitlines()[-1])
        assert (
            code == 0 and set(report["stage_calls"]) == {"text", *MODELS[1:]} and report["cache_hits"]["vocoder"] == 0
        )
        assert soundfile.info(str(folder / f"{name}.wav")).duration == pytest.approx(report["audio_seconds"], abs=0.01)
    a, b, c = ((folder / f"{name}.wav").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("key", "unknown key 'stepz'; did you mean 'steps'?"),
        ("nowhere", "nowhere.yaml: no such configuration file"),
        ("corpus", "unknown key 'huors'; did you mean 'hours'?"),
    ],
)
def test_bad_configs_are_one_sentence(world_of_models, command, message):
    code, out, err = world_of_models[1][command]
    assert code == 1 and out == "" and len(err.splitlines()) == 1 and message in err, err


def test_order_of_training(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    from flows.train import ordered
    from stages.core.config import ConfigError

    names = [Path(p).stem for p in ordered([str(ROOT / "configs/train/starter")], [])]
    assert set(names) == {*MODELS, "vocoder-predicted"} and names[0] == "codes" and names[-1] == "vocoder-predicted"
    one = str(ROOT / "configs/train/starter/vocoder.yaml")
    assert ordered([one, str(ROOT / "configs/train/starter")], []).count(one) == 1
    with pytest.raises(ConfigError, match="holds no .yaml file"):
        ordered([str(tmp_path)], [])


@pytest.mark.slow
def test_killed_training_goes_on(world_of_models):
    folder, _ = world_of_models
    sets = ("folder=runs/killed", "trainer.steps=400", "trainer.save_minutes=0.002")
    command = [sys.executable, "-m", "flows.cli", "train", str(ROOT / "configs/tiny/train/codes.yaml")]
    command += [part for s in sets for part in ("--set", s)]
    running = subprocess.Popen(command, cwd=folder, env=environment(), start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not (folder / "runs/killed/resume").is_dir() and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    done = subprocess.run(
        command, cwd=folder, env=environment(), check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in (folder / "runs/killed/log.jsonl").read_text().splitlines()]
    steps = [r["step"] for r in rows if r["kind"] == "train"]
    assert steps[-1] == 400 and steps.count(2) == 1  # it did not start over


def test_deployments_name_flows_that_are_there():
    config = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    names = [d["entrypoint"] for d in config["deployments"]]
    assert len(names) == len(set(names)) == 4
    for entrypoint in names:
        module, _, name = entrypoint.partition(":")
        path = ROOT / module
        assert path.is_file() and f"\ndef {name}(" in path.read_text(), entrypoint


def test_commands_reach_their_flows_with_the_engine_prepared(tmp_path, monkeypatch):
    calls = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flows.runtime.prepare_environment", lambda cache: calls.append(str(cache)))
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    (tmp_path / "c.yaml").write_text("out: x\n")
    import flows.prepare
    import flows.train

    monkeypatch.setattr(flows.prepare, "main", lambda *a: calls.append(a) or 0)
    monkeypatch.setattr(flows.train, "main", lambda *a: calls.append(a) or 0)
    assert cli.main(["prepare", "c.yaml", "--set", "hours.rms=0.05"]) == 0
    assert cli.main(["train", "a.yaml", "b", "--minutes", "2.5"]) == 0
    assert calls == ["artifacts/cache", ("c.yaml", ["hours.rms=0.05"]), "artifacts/cache", (["a.yaml", "b"], [], 2.5)]
