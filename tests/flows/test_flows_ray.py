"""`--runner ray` on a real Ray cluster of two nodes on this machine, which share one store."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.batch import Request
from flows.places import RayDevices, RunnerError, check_address, check_reach, open_place
from stages.core.route import load_route

ROOT = Path(__file__).resolve().parents[2]
PATHS = f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'fakes'}"
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "RAY_"))}

CLUSTER = """
import json, pathlib, sys
import fakestages
from ray.cluster_utils import Cluster

if __name__ == "__main__":
    fakestages.install(pathlib.Path(sys.argv[1]))
    from stages.core import route
    route.STAGES["diffusion"] = "fakestages.diffusion.watched:WatchedDiffusion"
    from flows.cli import main
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1, num_gpus=1)
    options = ["--out", "out", "--json", "--set", "shard=2", "--set", "device=cuda", "--set", "slots=2"]
    try:
        code = main(["batch", "list.txt", *options, "--runner", "ray", "--address", cluster.address])
    finally:
        cluster.shutdown()
    from prefect import get_client
    with get_client(sync_client=True) as client:
        states = sorted((run.name, run.state.name) for run in client.read_task_runs())
    print(json.dumps([code, main(["batch", "list.txt", "--out", "same", "--json", "--runner", "inline"]), states]))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A run on a cluster: (folder, report, exit codes here and in-process, task states, notes of every call)."""
    folder = tmp_path_factory.mktemp("ray")
    (folder / "list.txt").write_text("\n".join([f"Line {'abcdefghijkl'[i]}." for i in range(11)] + ["Please explode."]))
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER, str(folder)], cwd=folder, check=False, capture_output=True, text=True,
        timeout=300,
        env=CLEAN | {"PYTHONPATH": PATHS, "WATCHED_NOTES": str(folder / "notes"), "RAY_USAGE_STATS_ENABLED": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("{", "["))]
    notes = [json.loads(line) for line in (folder / "notes").read_text().splitlines()]
    return folder, found[0], found[-1], notes


def test_a_cluster_gives_what_one_process_gives(cluster):
    folder, report, (code, inline, states), _ = cluster
    assert (code, inline) == (3, 3) and (report["ok"], report["failed"]) == (11, 1)
    assert "boom" in report["errors"]["0012"]
    sums = [(folder / name / "SHA256SUMS").read_text() for name in ("out", "same")]
    wavs = [sorted(line for line in text.splitlines() if line.endswith(".wav")) for text in sums]
    assert len(wavs[0]) == 11 and wavs[0] == wavs[1]
    assert len(states) == 6 * 5 and {state for _, state in states} == {"Completed"}


def test_a_cluster_keeps_to_its_slots_and_keeps_its_models(cluster):
    *_, notes = cluster
    assert {note["device"] for note in notes} == {"cuda:0"} and {note["visible"] for note in notes} == {"0"}
    assert len({(note["process"], note["loaded"]) for note in notes}) == len({note["process"] for note in notes})
    for node in {note["node"] for note in notes}:
        there = [note for note in notes if note["node"] == node]
        at_once = [sum(n["begun"] <= note["begun"] < n["ended"] for n in there) for note in there]
        assert max(at_once) <= 2  # slots=2 of the node's one accelerator


def test_fractions_of_accelerators(world):
    assert RayDevices.of(load_route()).wants("accelerator")["num_gpus"] == 0
    devices = RayDevices.of(load_route(sets=["device=cuda", "slots=4"]))
    assert devices.wants("accelerator") == {"num_cpus": 0, "num_gpus": 0.25, "max_calls": 0, "max_retries": 1}
    assert devices.wants("cpu")["num_gpus"] == 0 and devices.at_once({"CPU": 2.0, "GPU": 3.0}) == 2 + 12


def job(address=None):
    return SimpleNamespace(request=Request("c", "o", runner="ray", address=address), pipeline=None)


def test_ray_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RunnerError, match="not installed; run uv sync --extra ray"), open_place(job()):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense", "127.0.0.1:port"])
def test_an_address_without_a_cluster_is_refused(address):
    with pytest.raises(RunnerError, match="there is no Ray cluster at .*give its HOST:PORT"):
        check_address(address)


def test_nodes_elsewhere_need_a_server_that_they_reach():
    check_reach("http://127.0.0.1:4200/api", ["127.0.0.1"])
    check_reach("http://prefect.example:4200/api", ["127.0.0.1", "203.0.113.7"])
    with pytest.raises(RunnerError, match="Ray node 203.0.113.7 cannot reach .*; set PREFECT_API_URL to"):
        check_reach("http://127.0.0.1:4200/api", ["127.0.0.1", "203.0.113.7"])
