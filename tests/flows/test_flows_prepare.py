"""`caretta prepare` for a corpus that people have, and `caretta export`: what is told, and the exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tinycorpus

from flows import cli

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A config of a corpus with timings, in the working directory."""
    monkeypatch.chdir(tmp_path)
    tinycorpus.write(tmp_path / "corpus", count=4)
    Path("c.yaml").write_text(
        "corpus: manifest\npath: corpus/manifest.jsonl\nout: out\nworkers: 1\n"
        "clean: {trim: false, min_characters_per_second: 0.1}\n"
    )
    return "c.yaml"


@pytest.fixture
def bare(monkeypatch):
    """Runs flows as plain functions, without an engine; gives the steps that ran."""
    import flows.prepare as module

    ran = []

    def plain(name):
        function = getattr(module, name).fn
        return lambda *arguments: ran.append(name) or function(*arguments)

    for name in ("clean", "align", "close", "render", "features"):
        monkeypatch.setattr(module, name, plain(name))
    monkeypatch.setattr(module, "drain_flow", lambda expected: ran.append(expected))
    monkeypatch.setattr(module, "call", lambda flow, *arguments: flow.fn(*arguments))
    monkeypatch.setattr("flows.runtime.prepare_environment", lambda cache: None)
    return ran


def run(capsys, *argv):
    code = cli.main([str(a) for a in argv])
    return (code, *capsys.readouterr())


def test_prepare_tells_what_became_of_every_utterance(config, bare, capsys):
    code, out, err = run(capsys, "prepare", config)
    assert (code, err) == (0, "") and bare == ["clean", "align", "close", 3]
    lines = out.splitlines()
    assert lines[0] == "read 8 = kept 8 + dropped 0" and "out/manifest.jsonl: 8 utterances" in lines[1]
    assert any(line == "report: out/report.html" for line in lines) and lines[-1].startswith("features: out/features-")
    assert run(capsys, "prepare", config) == (0, out, "") and bare == ["clean", "align", "close", 3]  # nothing ran
    Path("corpus/audio/rms/0.wav").unlink()
    code, out, _ = run(capsys, "prepare", config)
    assert code == 3 and out.startswith("read 8 = kept 7 + dropped 1 (missing_audio 1)\n")
    assert json.loads(Path("out/rejected.jsonl").read_text())["reason"] == "missing_audio"


def test_a_corpus_that_cannot_be_used(config, bare, capsys):
    for sets, said in (
        (["path=none.jsonl"], "none.jsonl: no such file"),
        (["language=xx"], "no pronunciation"),
        (["corpus=ljspech"], "did you mean 'ljspeech'"),
        (["clean.min_secnds=1"], "did you mean 'min_seconds'"),
    ):
        code, out, err = run(capsys, "prepare", config, "--set", *sets)
        assert (code, out) == (1, "") and err.count("\n") == 1 and said in err
    for path in Path("corpus").rglob("*.wav"):
        path.write_bytes(b"no sound")
    code, out, err = run(capsys, "prepare", config)
    assert code == 1 and out.startswith("read 8 = kept 0 + dropped 8")


def test_a_step_that_fails_is_waited_for_alone(config, bare, monkeypatch, capsys):
    import flows.prepare as module

    def fail(steps):
        raise ValueError("no room")

    monkeypatch.setattr(module, "align", fail)
    code, _, err = run(capsys, "prepare", config)
    assert code == 1 and "no room" in err and bare == ["clean", 2]


def test_export(config, capsys):
    manifest = "corpus/manifest.jsonl"
    code, out, err = run(capsys, "export", manifest, "--to", "melotts", "--out", "m")
    assert (code, err) == (0, "") and out == "m/metadata.list: 8 utterances = 8 written + 0 left out\n"
    code, out, err = run(capsys, "export", manifest, "--to", "ljspeech", "--out", "lj")
    assert code == 1 and "--speaker" in err and not Path("lj").exists()
    code, out, _ = run(capsys, "export", manifest, "--to", "ljspeech", "--out", "lj", "--speaker", "slt")
    assert code == 0 and "4 utterances = 4 written" in out and len(list(Path("lj/wavs").iterdir())) == 4
    Path("corpus/audio/slt/0.wav").unlink()
    code, out, err = run(capsys, "export", manifest, "--to", "nemo", "--out", "n")
    assert code == 3 and "7 written + 1 left out" in out and "0.wav is not there" in err
    for bad, said in (
        (["--to", "kaldi", "--out", "k"], "unknown export 'kaldi'"),
        (["--to", "nemo", "--out", "k", "--speaker", "stl"], "no speaker 'stl'; did you mean 'slt'?"),
    ):
        code, out, err = run(capsys, "export", manifest, *bad)
        assert (code, out) == (1, "") and said in err and not Path("k").exists()
    assert run(capsys, "export", "none.jsonl", "--to", "nemo", "--out", "k")[0] == 1


@pytest.mark.slow
def test_prepare_as_a_real_flow(config, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path / "prefect")}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", "prepare", config],
            cwd=tmp_path, check=False, capture_output=True, text=True, timeout=300, env=environment,
        )  # fmt: skip
        assert done.returncode == 0 and done.stdout.startswith("read 8 = kept 8 + dropped 0\n"), done.stderr[-2000:]
