"""SIGKILL of the real Prefect run with worker processes: nothing stays behind, and a rerun ends as if undisturbed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import slowstages

ROOT = Path(__file__).resolve().parents[2]
LINES = [f"This is line {n}." for n in range(60)]
MOMENTS = 6
GONE = 20.0
"""seconds after which every process of a killed run must have ended"""
CODE = """
import pathlib, sys
import slowstages
slowstages.install(pathlib.Path("../world"))
from flows.cli import main
print("started", flush=True)
options = ["--json", "--preset", "ultra_fast", "--set", "shard=5", *sys.argv[1:]]
code = main(["batch", "../list.txt", "--out", "out", *options])
sys.exit(code)
"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A folder with slow fakes, a corpus, and `whole`, an uninterrupted run."""
    folder = tmp_path_factory.mktemp("engine")
    (folder / "world").mkdir()
    slowstages.write(folder, 0.005)
    (folder / "list.txt").write_text("\n".join(LINES))
    (folder / "whole").mkdir()
    assert start(folder / "whole", "--runner", "inline").wait() == 0
    return folder


def start(folder, *extra):
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "fakes", folder.parent)))
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    with open(folder / "log.txt", "a") as log:
        return subprocess.Popen(
            [sys.executable, "-c", CODE, *extra],
            cwd=folder, env=clean | {"PYTHONPATH": path}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def session(leader):
    """Processes of a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def command_lines(pids):
    return [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")[:200] for pid in pids]


def sounds(folder):
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir() if path.name != "config.yaml"}


def report(folder):
    lines = (folder / "log.txt").read_text().splitlines()
    return json.loads([line for line in lines if line.startswith('{"items"')][-1])


def killed(folder, seconds):
    """Kills a run after so many seconds of computing; gives the number of store entries that were finished."""
    process = start(folder, "--runner", "processes")
    try:
        deadline = time.monotonic() + 120
        while not list(folder.glob("artifacts/cache/*/*.safetensors")) and process.poll() is None:
            assert time.monotonic() < deadline, (folder / "log.txt").read_text()[-2000:]
            time.sleep(0.05)
        time.sleep(seconds)
        assert process.poll() is None, "the run had ended before; make it longer"
        process.kill()
        process.wait()
        deadline = time.monotonic() + GONE
        while (left := session(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not left, command_lines(left)
    finally:
        for pid in session(process.pid):
            os.kill(pid, signal.SIGKILL)
    return len(list(folder.glob("artifacts/cache/[0-9a-f][0-9a-f]/*.safetensors")))


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_killed_engine_leaves_no_process_and_goes_on(scene, moment):
    folder = scene / f"killed{moment}"
    folder.mkdir()
    finished = killed(folder, random.Random(moment).uniform(0.0, 2.0))
    last = moment == MOMENTS - 1  # the engine itself starts again over what the killed one has left
    process = start(folder, "--runner", "processes" if last else "inline")
    try:
        assert process.wait(timeout=240) == 0, (folder / "log.txt").read_text()[-2000:]
    finally:
        for pid in session(process.pid):
            os.kill(pid, signal.SIGKILL)
    assert sounds(folder) == sounds(scene / "whole")
    items = 6 * len(LINES)  # a text, 2 candidates, a choice, a mel and a sound for each line
    assert sum(report(folder)["stage_calls"].values()) <= items - (finished - 1 - len(LINES))  # a voice, some records
    shutil.rmtree(folder)
