"""The deployments of prefect.yaml on a real server with a real worker, on loopback, with stages of no cost."""

import contextlib
import json
import os
import pwd
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import fakestages
import pytest

ROOT = Path(__file__).resolve().parents[2]
FAKES = ROOT / "tests" / "fakes"
LINES = ["Hello there.", "How are you? I am well.", "One more line."]


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Prefect:
    """A server, a pool with a worker, and the deployments; all of it ends with the fixture."""

    folder: Path
    env: dict
    processes: list

    def cli(self, *argv, timeout=120):
        return subprocess.run(
            [sys.executable, "-m", "prefect", *argv], cwd=ROOT, env=self.env, check=False, capture_output=True,
            text=True, timeout=timeout,
        )  # fmt: skip

    def start(self, *argv, **env):
        log = open(self.folder / f"{argv[0]}.log", "w")
        command = [sys.executable, "-m", "prefect", *argv]
        self.processes.append(
            subprocess.Popen(command, cwd=ROOT, env=self.env | env, stdout=log, stderr=log, start_new_session=True)
        )

    def ask(self, path, **body):
        request = urllib.request.Request(
            f"{self.env['PREFECT_API_URL']}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def wait(self):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.env['PREFECT_API_URL']}/health"):
                return
            time.sleep(0.3)
        raise TimeoutError((self.folder / "server.log").read_text()[-2000:])

    def synthesize(self, corpus, out, *parameters):
        found = [f"corpus={self.folder / corpus}", f"out={self.folder / out}", *parameters]
        given = [part for value in found for part in ("-p", value)]
        store = json.dumps([f"cache.dir={self.folder / 'store'}", "shard=2"])
        return self.cli("deployment", "run", "synthesize/default", *given, "-p", f"sets={store}", "--watch")

    def tasks(self):
        """Task runs by flow run, oldest flow run first: [(name, state), …]."""
        flow_runs = self.ask("flow_runs/filter", sort="START_TIME_ASC")
        found = {run["id"]: [] for run in flow_runs}
        for task in self.ask("task_runs/filter"):
            found[task["flow_run_id"]].append((task["name"], task["state"]["name"]))
        return list(found.values())


@contextlib.contextmanager
def running(folder, **settings):
    """A server with a worker in `folder`."""
    port = free_port()
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    env = clean | {
        "PREFECT_HOME": str(folder / "home"), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_CLI_PROMPT": "false", "NO_COLOR": "1", **settings,
    }  # fmt: skip
    prefect = Prefect(folder, env, [])
    fakestages.install(folder)
    try:
        prefect.start("server", "start", "--host", "127.0.0.1", "--port", str(port))
        prefect.wait()
        made = prefect.cli("work-pool", "create", "caretta", "--type", "process")
        assert made.returncode == 0, made.stdout + made.stderr
        paths = os.pathsep.join(map(str, (FAKES / "deployed", ROOT, FAKES)))
        prefect.start("worker", "start", "--pool", "caretta", "--type", "process", "--name",
                      "one", PYTHONPATH=paths, FAKE_WORLD=str(folder), PREFECT_WORKER_QUERY_SECONDS="1")  # fmt: skip
        deployed = prefect.cli("deploy", "--all")
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        yield prefect
    finally:
        for process in reversed(prefect.processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
        for process in prefect.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()


@pytest.fixture(scope="module")
def prefect(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deployed")
    from stages.core import pipeline, route, voices

    with pytest.MonkeyPatch.context() as patch:  # `install` changes this process as well
        patch.setattr(route, "STAGES", dict(route.STAGES))
        for module, name in ((route, "ROUTES"), (voices, "FOLDER"), (pipeline, "SPLITTER")):
            patch.setattr(module, name, getattr(module, name))
        with running(folder) as found:
            yield found


def rows(folder):
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_every_flow_is_deployed_with_a_form(prefect):
    found = {d["entrypoint"].split(":")[1]: d for d in prefect.ask("deployments/filter")}
    assert set(found) == {"synthesize", "prepare", "train", "evaluation"}
    for deployment in found.values():
        schema = deployment["parameter_openapi_schema"]["properties"]
        assert all(field.get("description") for field in schema.values()), schema
        assert set(deployment["parameters"]) <= set(schema)
    form = found["synthesize"]["parameter_openapi_schema"]
    assert form["required"] == ["corpus", "out"]
    assert form["properties"]["preset"]["enum"] == ["ultra_fast", "fast", "standard", "high_quality", "steady"]
    assert form["properties"]["runner"]["enum"] == ["auto", "threads", "processes", "ray"]
    assert form["properties"]["format"]["enum"] == ["wav", "flac", "ogg", "opus"]
    assert form["properties"]["seed"]["type"] == "integer" and form["properties"]["book"]["type"] == "boolean"


def test_a_deployed_run_speaks_and_a_second_one_finds_everything(prefect):
    (prefect.folder / "list.txt").write_text("\n".join(LINES))
    done = prefect.synthesize("list.txt", "out")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert [(row["id"], "path" in row) for row in rows(prefect.folder / "out")] == [
        ("0001", True), ("0002", True), ("0003", True)
    ]  # fmt: skip
    assert all((prefect.folder / "out" / f"000{i}.wav").is_file() for i in (1, 2, 3))
    assert prefect.synthesize("list.txt", "out").returncode == 0
    first, second = prefect.tasks()
    assert sorted(first) == sorted((f"{stage}-{shard}", "Completed") for stage in fakestages.FAKES for shard in (0, 1))
    assert second == []  # everything was there: no task
    artifacts = {a["key"]: a for a in prefect.ask("artifacts/filter", sort="CREATED_DESC")}
    assert {"synthesize-progress", "synthesize-lines", "synthesize-mel", "synthesize-lineage"} <= set(artifacts)
    assert artifacts["synthesize-progress"]["data"] == 100.0
    assert artifacts["synthesize-mel"]["data"].startswith("data:image/png;base64,")
    assert (
        "clip" in artifacts["synthesize-lines"]["data"] and "autoregressive" in artifacts["synthesize-lineage"]["data"]
    )


def test_a_run_that_fails_says_so_by_its_exit_code(prefect):
    (prefect.folder / "bad.txt").write_text("Fine.\nPlease explode.\n")
    done = prefect.synthesize("bad.txt", "bad")
    assert done.returncode != 0 and (prefect.folder / "bad" / "0001.wav").is_file()
    (run,) = prefect.ask("flow_runs/filter", sort="START_TIME_DESC", limit=1)
    assert run["state"]["type"] == "FAILED"
    assert (
        "1 of 2 lines could not be spoken, first 0002" in run["state"]["message"] and "boom" in run["state"]["message"]
    )
    failures = [a for a in prefect.ask("artifacts/filter") if a["key"] == "synthesize-failures"]
    assert len(failures) == 1 and "boom" in failures[0]["data"]
    refused = prefect.cli(
        "deployment", "run", "synthesize/default", "-p", "corpus=c", "-p", "out=o", "-p", "preset=fest"
    )
    assert refused.returncode == 1 and "preset" in refused.stdout + refused.stderr


POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path("nowhere")]


@pytest.fixture
def postgres():
    """URL of a PostgreSQL of this test alone; it refuses to run as root, who therefore lends it another user."""
    port = free_port()
    with tempfile.TemporaryDirectory() as place:
        nobody = pwd.getpwnam("nobody")
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid} if os.geteuid() == 0 else {}
        if user:
            os.chown(place, nobody.pw_uid, nobody.pw_gid)
        options = dict(check=True, cwd=place, stdout=subprocess.DEVNULL, **user)
        data = Path(place) / "data"
        subprocess.run([POSTGRES[-1] / "initdb", "-D", data, "-U", "caretta", "-A", "trust"], **options)
        control = [POSTGRES[-1] / "pg_ctl", "-D", data, "-w"]
        settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        subprocess.run([*control, "-l", data / "log", "-o", settings, "start"], **options)
        yield f"postgresql+asyncpg://caretta@127.0.0.1:{port}/postgres"
        subprocess.run([*control, "-m", "immediate", "stop"], **options)


@pytest.mark.slow
@pytest.mark.skipif(not (POSTGRES[-1] / "initdb").is_file(), reason="PostgreSQL is not installed")
def test_the_same_on_postgresql(tmp_path, world, postgres):
    (tmp_path / "list.txt").write_text("\n".join(LINES))
    with running(tmp_path, PREFECT_API_DATABASE_CONNECTION_URL=postgres) as prefect:
        assert prefect.synthesize("list.txt", "out").returncode == 0
        (tasks,) = prefect.tasks()
    assert len(tasks) == 2 * 5 and {state for _, state in tasks} == {"Completed"}
    assert [("path" in row) for row in rows(tmp_path / "out")] == [True] * 3
