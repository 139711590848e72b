"""Several processes train as one does: the same losses, the same weights."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.core.config import ConfigError
from stages.training.distributed import World, _buckets, join
from stages.training.run import make_trainer

ROOT = Path(__file__).resolve().parents[3]
TINY = ROOT / "configs" / "tiny" / "train"
TWO = "trainer.accumulate=2"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def together(arguments, size=2):
    """Starts `shared.py` as torchrun would; what each process printed."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "fakes")))
    port, running = free_port(), []
    for rank in range(size):
        own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | {k: str(v) for k, v in own.items()}
        command = [sys.executable, str(Path(__file__).with_name("shared.py")), *map(str, arguments)]
        running.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    try:
        ended = [process.communicate(timeout=200) for process in running]
    finally:
        for process in running:
            process.kill()
    assert all(process.returncode == 0 for process in running), ended
    return [out.splitlines() for out, _ in ended]


def rows(folder):
    lines = (folder / "log.jsonl").read_text().splitlines()
    machine = ("seconds", "_seconds", "_data", "_padding")
    return [{k: v for k, v in json.loads(line).items() if k not in machine} for line in lines]


def test_two_processes_are_one(tiny_run, tiny_manifest, tiny_codes, tmp_path):
    """Micro-batches of unequal numbers of targets (decoder), an adversary with an optimizer of its own (vocoder)."""
    arguments = []
    for model in ("autoregressive", "vocoder"):
        make_trainer(tiny_run(model, TWO, folder=tmp_path / "one" / model)).run()
        sets = [f"manifest={tiny_manifest}", f"folder={tmp_path / 'two' / model}", "trainer.device=cpu", TWO]
        sets += [f"objective.codes={tiny_codes}"] if model == "autoregressive" else []
        (tmp_path / f"{model}.json").write_text(json.dumps(sets))
        arguments += [TINY / f"{model}.yaml", tmp_path / f"{model}.json"]
    printed = together(arguments)
    assert [json.loads(line) for line in printed[1]] == [{}, {}]  # the second one looks on
    for model in ("autoregressive", "vocoder"):
        one, two = tmp_path / "one" / model, tmp_path / "two" / model
        a, b = (load_file(folder / "resume" / "state.safetensors") for folder in (one, two))
        assert a.keys() == b.keys()
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-7, msg=name)
        for x, y in zip(rows(one), rows(two), strict=True):
            assert x.keys() == y.keys() and x["kind"] == y["kind"]
            assert all(v == pytest.approx(y[k], abs=2e-5) for k, v in x.items() if isinstance(v, (int, float)))
    trainer = make_trainer(tiny_run("vocoder", TWO, folder=tmp_path / "two" / "vocoder"))
    assert trainer.step == 6  # a run of two processes goes on in one


def test_micro_batches_are_dealt_out_evenly_or_refused():
    worlds = [World(rank, 4) for rank in range(4)]
    assert sorted(n for world in worlds for n in world.share(8)) == list(range(8))
    with pytest.raises(ConfigError, match="3 micro-batches a step .* to 2 processes; add --set trainer.accumulate=4"):
        World(0, 2).share(3)


def test_one_process_shares_nothing():
    model = torch.nn.Linear(2, 2)
    World().sum_gradients(model.parameters())
    assert model.weight.grad is None and World().any(True) and not World().any(False)
    with World().first_goes_ahead():
        pass


def test_gradients_travel_in_buckets(monkeypatch):
    monkeypatch.setattr("stages.training.distributed.BUCKET", 10)
    parameters = [torch.nn.Parameter(torch.zeros(n)) for n in (4, 5, 3, 20, 1, 9)]
    buckets = [[p.numel() for p in bucket] for bucket in _buckets(parameters)]
    assert buckets == [[4, 5], [3], [20], [1, 9]]


def test_an_environment_that_torchrun_did_not_make_is_one_sentence(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ConfigError, match="must be numbers .*; start it by torchrun"):
        join("cpu")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigError, match="the 2 processes do not find each other .*; start them by torchrun"):
        join("cpu")
