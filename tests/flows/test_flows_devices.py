"""Slots and worker processes with plain functions, and what the flow does when a worker dies or is interrupted."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fakecalls
import pytest

from flows import devices
from flows.devices import DeviceError, Slots, SlotsClosed, layout
from flows.workers import Worker, WorkerDied, WorkerError

ROOT = Path(__file__).resolve().parents[2]
PATHS = f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'fakes'}"
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")} | {"PYTHONPATH": PATHS}


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def gone(pid, seconds=10.0):
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


class Crowd:
    """A call that notes how many run at once on each device."""

    def __init__(self):
        self.lock, self.now, self.most = threading.Lock(), {}, {}

    def __call__(self, device):
        with self.lock:
            self.now[device] = self.now.get(device, 0) + 1
            self.most[device] = max(self.most.get(device, 0), self.now[device])
        time.sleep(0.01)
        with self.lock:
            self.now[device] -= 1


def test_never_more_tasks_on_a_device_than_its_slots():
    crowd, slots = Crowd(), Slots(layout(["mps:0", "mps:1"], slots=2, workers=3, tasks=100))
    with ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(slots.run, kind, 1.0, crowd) for kind in ("accelerator", "cpu") * 40]
        assert all(future.result() is None for future in futures)
    assert crowd.most == {"mps:0": 2, "mps:1": 2, "cpu": 3}


def test_cpu_tasks_run_beside_accelerator_tasks():
    both, slots = threading.Barrier(2), Slots({"cpu": ["cpu"], "accelerator": ["mps:0"]})
    with ThreadPoolExecutor(2) as pool:
        waits = [pool.submit(slots.run, kind, 1.0, lambda device: both.wait(10)) for kind in ("cpu", "accelerator")]
        assert sorted(w.result() for w in waits) == [0, 1]


def test_without_accelerators_every_task_is_the_cpus():
    assert Slots({"cpu": ["cpu"]}).run("accelerator", 1e9, lambda device: device) == "cpu"


def test_a_slot_comes_back_after_an_error():
    slots = Slots({"cpu": ["cpu"]})
    for _ in range(3):
        with pytest.raises(OSError, match="disk"):
            slots.run("cpu", 0.0, fakecalls.fail, "disk")


def test_a_closed_place_wakes_who_waits():
    slots, taken = Slots({"cpu": ["cpu"]}), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(slots.run, "cpu", 0.0, lambda device: (taken.set(), time.sleep(0.3)))
        taken.wait(5)
        second = pool.submit(slots.run, "cpu", 0.0, lambda device: "never")
        time.sleep(0.05)
        slots.close()
        with pytest.raises(SlotsClosed):
            second.result(0.2)
        first.result()


@pytest.mark.parametrize(
    ("names", "slots", "workers", "tasks", "cpu", "accelerators"),
    [
        (["cpu"], 3, 4, 100, 4, None),
        (["cpu"], 1, 4, 2, 2, None),
        (["cuda"], 2, 1, 100, 1, ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]),
        (["cuda:1"], 2, 1, 100, 1, ["cuda:1", "cuda:1"]),
        (["cuda:1", "cuda:0"], 1, 1, 1, 1, ["cuda:1"]),
    ],
)
def test_layout(monkeypatch, names, slots, workers, tasks, cpu, accelerators):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = layout(names, slots, workers, tasks)
    assert len(found["cpu"]) == cpu and found.get("accelerator") == accelerators


def test_devices_that_are_not_there_are_refused(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match="'cuda:1' is not there: 1 CUDA devices are visible"):
        layout(["cuda:1"], 1, 1, 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(DeviceError, match="try --set device=cpu"):
        layout(["cuda"], 1, 1, 1)


def test_a_task_that_does_not_fit_a_device_is_refused(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 * devices.GIB, 8 * devices.GIB))
    slots = Slots({"cpu": ["cpu"], "accelerator": ["cuda:0"]})
    assert slots.run("accelerator", 8.0, lambda device: device) == "cuda:0"
    with pytest.raises(DeviceError, match="cuda:0 has 8.0 GiB of memory and a task needs 12; name a larger one"):
        slots.run("accelerator", 12.0, lambda device: device)


@pytest.fixture
def processes():
    with Slots({"cpu": ["cpu", "cpu"]}, processes=True, modules=["numpy", "nowhere.to.be.found"]) as slots:
        yield slots


def test_a_slot_is_one_process_with_one_thread(processes):
    first = processes.run("cpu", 0.0, fakecalls.who)
    assert first[0] != os.getpid() and {processes.run("cpu", 0.0, fakecalls.who) for _ in range(5)} == {first}
    assert processes.run("cpu", 0.0, fakecalls.threads) == ("1", False)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: processes.run("cpu", 0.0, fakecalls.sleep, 0.3), range(2)))
        pids = {pid for pid, _ in pool.map(lambda _: processes.run("cpu", 0.0, fakecalls.who), range(8))}
    assert len(pids) <= 2


def test_errors_of_a_process_are_those_of_the_call(processes):
    with pytest.raises(OSError, match="full disk") as caught:
        processes.run("cpu", 0.0, fakecalls.fail, "full disk")
    assert not isinstance(caught.value, WorkerDied) and "fakecalls" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match="cannot be passed between processes"):
        processes.run("cpu", 0.0, fakecalls.unsendable)


def test_a_dead_worker_is_replaced(processes):
    for _ in range(3):
        with pytest.raises(WorkerDied, match="its worker process died, out of memory?"):
            processes.run("cpu", 0.0, fakecalls.die)
        assert processes.run("cpu", 0.0, fakecalls.who)[1] == "cpu"


def test_close_ends_processes_at_work(processes):
    pid, _ = processes.run("cpu", 0.0, fakecalls.who)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(processes.run, "cpu", 0.0, fakecalls.sleep, 60)
        time.sleep(0.3)
        start = time.monotonic()
        processes.close()
        with pytest.raises(SlotsClosed):
            call.result(5)
    assert time.monotonic() - start < 5 and gone(pid)


def test_a_worker_that_cannot_start_says_so(monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "nowhere")
    worker = Worker()
    with pytest.raises(WorkerError, match=r"could not start \(exit code 1\); use --runner threads"):
        worker.call(fakecalls.who, "cpu")


ORPHAN = """
import threading, time, fakecalls
from flows.workers import Worker
if __name__ == "__main__":
    worker = Worker()
    print(worker.call(fakecalls.who, "cpu")[0], flush=True)
    worker.call(fakecalls.sleep, 60, "cpu")
"""


def test_a_worker_does_not_outlive_a_killed_parent():
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True, env=CLEAN)
    pid = int(parent.stdout.readline())
    time.sleep(0.2)
    assert alive(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(pid, 5.0)


UNRULY = """
import json, pathlib, sys
import fakestages
if __name__ == "__main__":
    fakestages.install(pathlib.Path(sys.argv[1]))
    from stages.core import route
    route.STAGES["text"] = "fakestages.text.unruly:UnrulyText"
    from flows.cli import main
    code = main(["batch", "list.txt", "--out", "out", "--json", *sys.argv[2:]])
    if code != 3:
        sys.exit(code)
    from prefect import get_client
    with get_client(sync_client=True) as client:
        print(json.dumps([[r.name, r.state.name, r.run_count] for r in client.read_task_runs()]))
"""


def unruly(folder, lines, *argv, **popen):
    (folder / "list.txt").write_text("\n".join(lines))
    return subprocess.Popen(
        [sys.executable, "-c", UNRULY, str(folder), "--runner", "processes", *argv], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=CLEAN | {"UNRULY_NOTES": str(folder / "loads")}, **popen,
    )  # fmt: skip


def test_one_sentence_that_kills_its_worker_does_not_stop_the_others(tmp_path):
    lines = [f"Line {'abcdefgh'[i]}." for i in range(7)] + ["Do die now.", "Please explode."]
    process = unruly(tmp_path, lines, "--set", "shard=3", "--set", "workers=2")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-2000:]
    found = [json.loads(line) for line in output.splitlines() if line[0] in "{["]
    report, runs = found
    assert (report["ok"], report["failed"]) == (7, 2) and "Traceback" not in errors
    assert "text: its worker process died, out of memory?" in report["errors"]["0008"]
    assert "boom" in report["errors"]["0009"]
    died = {name: count for name, state, count in runs if state == "Failed"}
    assert sorted(died.values()) == [2, 2] and any("." in name for name in died)  # the shard twice, the sentence twice
    assert len(runs) == 3 * 5 + 3  # three shards through five stages, and one shard's sentences alone
    processes = [line.split()[0] for line in (tmp_path / "loads").read_text().splitlines()]
    assert len(processes) == len(set(processes)) <= 2 + 4  # loaded once per process: two, and one for each that died


def test_interrupt_ends_everything_at_once_without_a_traceback(tmp_path):
    process = unruly(tmp_path, ["Now sleep.", "Then sleep well."], "--set", "shard=1", start_new_session=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "asleep").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    workers = {int(line.split()[0]) for line in (tmp_path / "loads").read_text().splitlines()}
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    _, errors = process.communicate(timeout=60)
    seconds = time.monotonic() - start
    assert (process.returncode, errors.splitlines()[-1]) == (
        130,
        "caretta: stopped; run it again to go on where it was",
    )
    assert "Traceback" not in errors and seconds < 15
    assert workers and all(gone(pid) for pid in workers)


def test_nothing_outlives_a_killed_run(tmp_path):
    process = unruly(tmp_path, ["Now sleep.", "Then sleep well."], "--set", "shard=1", start_new_session=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "asleep").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    group = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if in_group(pid, process.pid)]
    process.kill()
    process.communicate(timeout=60)
    assert len(group) >= 4  # the run, the embedded server, two workers
    assert all(gone(pid) for pid in group)


def in_group(pid, group):
    try:
        return os.getpgid(pid) == group
    except ProcessLookupError:
        return False


def test_a_fault_of_the_configuration_ends_the_run_with_its_sentence(tmp_path):
    process = unruly(tmp_path, ["Misconfigured.", *(f"Line {c}." for c in "abc")], "--set", "shard=1")
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors.splitlines()[-1]) == (1, "caretta: text.lexicon: no such file; name one")
    assert "Traceback" not in errors
