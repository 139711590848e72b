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


def environment(folder):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return clean | {"PYTHONPATH": str(ROOT), "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def caretta(folder, *argv):
    command = [sys.executable, "-m", "flows.cli", *map(str, argv)]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=300, env=environment(folder))


PREPARE = ("prepare", ROOT / "configs/tiny/data.yaml", "--set", "wordnet=wordnet", "--set", "hours.rms=0.005", "--set", "hours.slt=0.003")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with a prepared corpus and five tiny trained models, and what the two commands said."""
    import tinycorpus

    folder = tmp_path_factory.mktemp("training")
    tinycorpus.write_wordnet(folder / "wordnet")
    tinycorpus.write_flite(folder / "bin")
    prepared = caretta(folder, *PREPARE)
    assert prepared.returncode == 0, prepared.stderr[-2000:]
    done = caretta(folder, "train", ROOT / "configs/tiny/train")
    assert done.returncode == 0, done.stderr[-2000:]
    return folder, prepared, done


def test_corpus_and_models_lie_where_their_configs_say(trained):
    folder, prepared, done = trained
    assert "speakers rms, slt" in prepared.stdout and "Traceback" not in prepared.stderr + done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == list(MODELS)  # in the order of need
    assert all(": step 6 of 6 in " in line for line in done.stdout.splitlines())
    metas = {m: json.loads((folder / f"artifacts/runs/tiny/{m}/checkpoint/meta.json").read_text()) for m in MODELS}
    assert all(meta["step"] == 6 and meta["stage"] == m for m, meta in metas.items())
    assert len({metas[m]["codebook"] for m in ("autoregressive", "rerank", "diffusion")}) == 1


def test_tiny_models_speak_and_a_seed_is_a_reading(trained):
    folder, *_ = trained
    clip = max((folder / "artifacts/data/tiny/audio/rms").iterdir(), key=lambda p: p.stat().st_size)
    sets = [f"--set={m}.checkpoint=artifacts/runs/tiny/{m}/checkpoint" for m in MODELS if m != "codes"]
    say = ("say", "Seven red lamps.", "--voice", clip, *sets)
    sounds = []
    for name, more in (("a", ()), ("b", ("--set", "cache.dir=other")), ("c", ("--seed", "1"))):
        done = caretta(folder, *say, "-o", f"{name}.wav", "--json", *more)
        assert done.returncode == 0, done.stderr[-2000:]
        report = json.loads(done.stdout.splitlines()[-1])
        assert set(report["stage_calls"]) == {"text", *MODELS[1:]} and report["cache_hits"]["vocoder"] == 0
        assert soundfile.info(str(folder / f"{name}.wav")).duration == pytest.approx(report["audio_seconds"], abs=0.01)
        sounds.append((folder / f"{name}.wav").read_bytes())
    assert sounds[0] == sounds[1] != sounds[2]


def test_bad_configs_are_one_sentence(trained):
    folder, *_ = trained
    for argv, message in (
        (("train", ROOT / "configs/tiny/train/codes.yaml", "--set", "network.depth=2"), "was trained with another config"),
        (("train", ROOT / "configs/tiny/train", "--set", "trainer.stepz=2"), "unknown key 'stepz'; did you mean 'steps'?"),
        (("train", "nowhere.yaml"), "nowhere.yaml: no such configuration file"),
        (("prepare", ROOT / "configs/tiny/data.yaml", "--set", "huors.rms=1"), "unknown key 'huors'; did you mean 'hours'?"),
    ):
        done = caretta(folder, *argv)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and message in done.stderr, done.stderr


def test_order_of_training(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    from flows.train import ordered
    from stages.core.config import ConfigError

    names = [Path(p).stem for p in ordered([str(ROOT / "configs/train/starter")], [])]
    assert set(names) == set(MODELS) and names.index("codes") == 0
    one = str(ROOT / "configs/train/starter/vocoder.yaml")
    assert ordered([one, str(ROOT / "configs/train/starter")], []).count(one) == 1
    with pytest.raises(ConfigError, match="holds no .yaml file"):
        ordered([str(tmp_path)], [])


@pytest.mark.slow
def test_killed_training_goes_on(trained):
    folder, *_ = trained
    argv = ("train", ROOT / "configs/tiny/train/codes.yaml", "--set", "folder=runs/killed", "--set", "trainer.steps=400", "--set", "trainer.save_minutes=0.002")
    running = subprocess.Popen([sys.executable, "-m", "flows.cli", *map(str, argv)], cwd=folder, env=environment(folder), start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not (folder / "runs/killed/resume").is_dir() and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    done = caretta(folder, *argv)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in (folder / "runs/killed/log.jsonl").read_text().splitlines()]
    first_run_again = [r["step"] for r in rows if r["kind"] == "train"]
    assert first_run_again[-1] == 400 and first_run_again.count(2) == 1  # it did not start over


def test_deployments_name_flows_that_are_there():
    config = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    names = [d["entrypoint"] for d in config["deployments"]]
    assert len(names) == 4 and len({d["name"] + d["entrypoint"] for d in config["deployments"]}) == 4
    for entrypoint in names:
        module, _, name = entrypoint.partition(":")
        path = ROOT / module
        assert path.is_file() and f'@flow(name="{name}"' in path.read_text(), entrypoint


def test_commands_reach_their_flows_with_the_engine_prepared(tmp_path, monkeypatch):
    calls = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flows.runtime.prepare_environment", lambda cache: calls.append(str(cache)))
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    import flows.prepare
    import flows.train

    monkeypatch.setattr(flows.prepare, "main", lambda *a: calls.append(a) or 0)
    monkeypatch.setattr(flows.train, "main", lambda *a: calls.append(a) or 0)
    assert cli.main(["prepare", "c.yaml", "--set", "hours.rms=0.05"]) == 0
    assert cli.main(["train", "a.yaml", "b", "--minutes", "2.5"]) == 0
    assert calls == ["artifacts/cache", ("c.yaml", ["hours.rms=0.05"]), "artifacts/cache", (["a.yaml", "b"], [], 2.5)]
