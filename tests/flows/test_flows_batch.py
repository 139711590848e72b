"""`caretta batch`: the plain part in-process, and the Prefect flow once with its real embedded server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import yaml

from flows import cli
from stages.core.route import load_route

ROOT = Path(__file__).resolve().parents[2]
LINES = ["Hello there.", "How are you? I am well.", "Please explode.", "One more line.", "…!"]

FLOW = """
import json, pathlib, sys
import fakestages
fakestages.install(pathlib.Path(sys.argv[1]))
from flows.cli import main
code = main(["batch", "list.txt", "--out", "out", "--json", "--runner", "threads", "--set", "shard=2"])
again = main(["batch", "list.txt", "--out", "out", "--json", "--runner", "threads", "--set", "shard=1"])
from prefect import get_client
with get_client(sync_client=True) as client:
    runs = client.read_task_runs()
    print(json.dumps([code, again, [[r.name, r.state.name, str(r.flow_run_id)] for r in runs]]))
"""


INLINE = ("--runner", "inline")


def manifest(folder):
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def flow(tmp_path_factory):
    """A cold and a warm run of the real flow in a process of its own: (folder, its output, exit codes, task runs)."""
    folder = tmp_path_factory.mktemp("flow")
    (folder / "list.txt").write_text("\n".join(LINES))
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", FLOW, str(folder)], cwd=folder, check=False, capture_output=True, text=True, timeout=240,
        env=clean | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'fakes'}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return folder, done, *json.loads(done.stdout.splitlines()[-1])


def test_flow_speaks_every_line_that_can_be_spoken(flow):
    folder, done, code, again, _ = flow
    assert (code, again) == (3, 3)  # one line fails, one has nothing to say
    first, second = (json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"items"'))
    assert (first["items"], first["ok"], first["failed"]) == (5, 3, 2)
    assert first["stage_calls"]["vocoder"] == 4 and set(second["stage_calls"].values()) == {0}
    assert "5 lines = 3 ok + 2 failed" in done.stdout and "Traceback" not in done.stderr
    found = manifest(folder / "out")
    assert [row["id"] for row in found] == ["0001", "0002", "0003", "0004", "0005"]
    assert "boom" in found[2]["error"] and "nothing in the text" in found[4]["error"]
    assert not (folder / "out" / "0003.wav").exists()


def test_flow_record_is_complete_and_shows_cached_shards(flow):
    *_, runs = flow
    states = {}
    for name, state, flow_run in runs:
        states.setdefault(flow_run, []).append((name.split("-")[0], state))
    cold, warm = sorted(states.values(), key=len, reverse=True)
    assert len(cold) == 3 * 5 and {state for _, state in cold} <= {"Completed"}  # 5 sentences in shards of 2
    assert len(warm) == 5  # only the line that failed is open


def test_flow_and_say_give_the_same_bytes(flow, world):
    folder = flow[0]
    assert cli.main(["say", LINES[1], "-o", "x.wav"]) == 0
    assert (world / "x.wav").read_bytes() == (folder / "out" / "0002.wav").read_bytes()


def test_flow_marks_what_is_in_the_store_as_cached(world):
    from flows.devices import Slots
    from flows.shards import Work, run_stage
    from stages.core.artifacts import ArtifactStore
    from stages.core.pipeline import Pipeline
    from stages.core.voices import load_voice

    pipeline, store = Pipeline(load_route()), ArtifactStore("cache")
    pipeline.run(["Hello."], load_voice("rms"), 0, store)
    units = pipeline.document("Hello.", load_voice("rms"), 0).units
    state = run_stage.fn(Work(pipeline.route, 1, units, store, {}, Slots({"cpu": ["cpu"]})))
    assert (state.name, state.type.value, state.message) == ("Cached", "COMPLETED", "6 of 6 in the store")


def test_only_faults_of_the_machine_are_tried_again():
    from types import SimpleNamespace

    from prefect.states import Failed

    from flows.shards import _worth_another_try
    from flows.workers import WorkerDied
    from stages.core.artifacts import StoreError
    from stages.core.config import ConfigError

    first, second = SimpleNamespace(run_count=1), SimpleNamespace(run_count=2)
    for error in (StoreError("disk"), TimeoutError(), WorkerDied("killed")):
        assert _worth_another_try(None, first, Failed(data=error))
    assert not _worth_another_try(None, first, Failed(data=ConfigError("key")))
    assert not _worth_another_try(None, second, Failed(data=WorkerDied("killed")))  # its sentences are tried alone


def test_everything_cached_starts_no_engine(world, capsys):
    (world / "list.txt").write_text("Hello there.\n…!\n")
    code = (
        "import sys, pathlib, fakestages\nfakestages.install(pathlib.Path(sys.argv[1]))\nfrom flows.cli import main\n"
        "main(['say', 'Hello there.']); main(['say', '…!'])\ncode = main(['batch', 'list.txt', '--out', 'out'])\n"
        "print('heavy:', code, [m for m in ('torch', 'prefect') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(world)], cwd=world, check=False, capture_output=True, text=True, timeout=60,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'fakes'}"},
    )  # fmt: skip
    assert done.stdout.rstrip().endswith("heavy: 3 []"), done.stdout + done.stderr


def test_manifest_and_resolved_config(world):
    (world / "c.jsonl").write_text('{"id": "a", "text": "Hello."}\n{"id": "b", "text": "Hello.", "voice": "slt"}\n')
    assert cli.main(["batch", "c.jsonl", "--out", "out", "--seed", "5", "--set", "diffusion.steps=3", *INLINE]) == 0
    a, b = manifest(world / "out")
    columns = {"id", "text", "voice", "seed", "path", "duration", "spoken", "scores", "key", "faults", "unspoken"}
    assert set(a) == columns and a["spoken"] == ["Hello"]
    assert (a["path"], a["seed"], a["voice"], b["voice"]) == ("a.wav", 5, "rms", "slt") and a["key"] != b["key"]
    assert soundfile.info("out/a.wav").duration == pytest.approx(a["duration"], abs=1e-4)
    assert yaml.safe_load((world / "out" / "config.yaml").read_text())["diffusion"]["steps"] == 3
    names = ["SHA256SUMS", "a.wav", "b.wav", "config.yaml", "manifest.jsonl"]
    assert sorted(p.name for p in (world / "out").iterdir()) == names


def test_stale_sound_of_a_line_that_now_fails_is_removed(world):
    for text, code in (("Fine.", 0), ("explode", 3)):
        (world / "c.txt").write_text(text)
        assert cli.main(["batch", "c.txt", "--out", "out", *INLINE]) == code
    assert not (world / "out" / "0001.wav").exists()


@pytest.mark.parametrize(
    ("content", "argv", "message"),
    [
        ("", [], "c.txt: holds no text"),
        ("Hi.", ["--voice", "rmz"], "did you mean 'rms'"),
        ("Hi.", ["--set", "difusion.steps=1"], "did you mean 'diffusion'"),
        ("Hi.", ["--out", "c.txt/out"], "cannot be made"),
        ("Hi.", ["--format", "mp3"], "unknown format 'mp3'; use one of wav"),
        ("Hi.", ["--redo", "0002"], "--redo: there is no id '0002' in the corpus; did you mean '0001'"),
        ("Hi.", ["--pick", "0001"], "write ID=CANDIDATE"),
        ("Hi.", ["--pick", "0001=6"], "the pick for '0001' (in out/choices.yaml): there is no candidate 6: 6 are"),
        ("Hi.", ["--pick", "0001:2=0"], "there is no sentence 2 in a text of 1"),
        ("Hi.", ["--export", "ljspech"], "unknown export 'ljspech'; use one of ljspeech, melotts"),
    ],
)
def test_bad_request_is_refused_before_any_work(world, capsys, content, argv, message):
    (world / "c.txt").write_text(content)
    assert cli.main(["batch", "c.txt", "--out", "out", *argv]) == 1
    assert message in capsys.readouterr().err and not (world / "artifacts").exists()


def test_bad_voice_of_a_line(world, capsys):
    (world / "c.jsonl").write_text('{"id": "a", "text": "Hello.", "voice": "stl"}\n')
    assert cli.main(["batch", "c.jsonl", "--out", "out"]) == 1
    assert "c.jsonl: id 'a': unknown voice 'stl'; did you mean 'slt'" in capsys.readouterr().err


def test_deployment_points_at_the_flow():
    config = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    (entry,) = [d for d in config["deployments"] if d["entrypoint"].startswith("flows/synthesize.py")]
    module, _, name = entry["entrypoint"].partition(":")
    assert (ROOT / module).is_file() and f"def {name}(" in (ROOT / module).read_text()
    assert str(ROOT) not in (ROOT / "prefect.yaml").read_text()
