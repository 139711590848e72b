"""A training that is killed goes on as if nothing had happened, bit for bit, wherever the kill falls."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.core import checkpoint
from stages.training.run import make_trainer

MODELS = ("codes", "autoregressive", "rerank", "diffusion", "vocoder")
ROOT = Path(__file__).resolve().parents[3]
POINTS = {
    "half of the state": ["write", 3],
    "before the old state is moved": ["rename", 7],
    "between the old state and the new one": ["rename", 8],
    "between state and checkpoint": ["rename", 9],
    "between the old checkpoint and the new one": ["rename", 10],
}
"""Saves rename a folder twice from the second one on; the first one moves nothing away."""


def environment(**more):
    """For processes of the tests: this tree, one thread."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "fakes")))
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | more


@pytest.fixture
def jobs(tmp_path, tiny_manifest, tiny_corpus, tiny_codes):
    """Gives `jobs((model, folder, kill, *sets), …)`: runs them one after the other; their exit statuses."""

    def run(*wanted):
        listed = []
        for model, folder, kill, *sets in wanted:
            own = [f"manifest={tiny_manifest}", f"folder={tmp_path / folder}", "trainer.device=cpu", *sets]
            if model in ("autoregressive", "rerank", "diffusion"):
                own.append(f"objective.codes={tiny_codes}")
            listed.append(
                {"config": str(ROOT / "configs" / "tiny" / "train" / f"{model}.yaml"), "sets": own, "kill": kill}
            )
        (tmp_path / "jobs.json").write_text(json.dumps(listed))
        command = [sys.executable, str(Path(__file__).with_name("forked.py")), str(tmp_path / "jobs.json")]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def assert_same(one, other):
    """States and checkpoints of two folders are the same to the last bit."""
    a, b = (load_file(folder / "resume" / "state.safetensors") for folder in (one, other))
    assert a.keys() == b.keys() and not [k for k in a if not torch.equal(a[k], b[k])]
    facts = [json.loads((folder / "resume" / "state.json").read_text()) for folder in (one, other)]
    assert all(facts[0][k] == facts[1][k] for k in ("step", "updates", "scaler", "adversary_scaler"))
    assert len({checkpoint.checkpoint_digest(folder / "checkpoint") for folder in (one, other)}) == 1
    return a


def test_every_model_goes_on_after_a_kill_as_if_nothing_had_happened(jobs, tmp_path):
    """Killed within the fifth step, having saved after each; the vocoder with its adversary."""
    wanted = [
        (model, f"{model}/{folder}", *rest)
        for model in MODELS
        for folder, *rest in (("whole", None), ("cut", ["losses", 5], "trainer.save_minutes=0"), ("cut", None))
    ]
    assert jobs(*wanted) == [0, -signal.SIGKILL, 0] * len(MODELS)
    for model in MODELS:
        state = assert_same(tmp_path / model / "whole", tmp_path / model / "cut")
        assert (model == "vocoder") == any(k.startswith("adversary_optimizer") for k in state)
        rows = [json.loads(line) for line in (tmp_path / model / "cut" / "log.jsonl").read_text().splitlines()]
        assert [r["step"] for r in rows if r["kind"] == "train"] == [2, 4, 6]  # nothing twice: step 4 was saved


def test_a_kill_anywhere_in_a_save_loses_that_save_at_most(jobs, tmp_path, tiny_run):
    wanted = [("codes", "whole", None)]
    for n, kill in enumerate(POINTS.values()):
        wanted += [("codes", str(n), kill, "trainer.save_minutes=0")]
    assert jobs(*wanted) == [0] + [-signal.SIGKILL] * len(POINTS)
    for n, point in enumerate(POINTS):
        run = tiny_run("codes", folder=tmp_path / str(n))
        trainer = make_trainer(run)
        assert trainer.step == (3 if n > 2 else 2), point
        checkpoint.read(tmp_path / str(n) / "checkpoint", "codes")
        trainer.run()
        assert_same(tmp_path / "whole", tmp_path / str(n))
