"""What the flow engine costs: `caretta batch` on lines whose stages cost nothing, with the embedded Prefect server in a
new PREFECT_HOME.

    python tests/bench/bench_orchestration.py [--lines 1000] [--candidates 1] [--runner auto]

Start-up is a run of one line in the same process, before; what is measured after it is the whole command: reading the
corpus, planning, tasks, the store's durable writes, sound files, draining the record. `warm` is the same command again
(everything is written), `store` the same with an empty output folder (everything is in the store). Bars: cold 2 ms and
warm 0.5 ms per utterance and stage for 1,000 lines; 10,000 lines within 2 GB; every task state in the record. Prints a
table and, as the last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from processes import Running, print_rows

STAGES = 5
CODE = """
import contextlib, io, json, pathlib, shutil, sys, time
import fakestages
fakestages.install(pathlib.Path("."))
from flows.cli import main

LINES, CANDIDATES, RUNNER = int(sys.argv[1]), sys.argv[2], sys.argv[3]

def batch(name):
    told, start = io.StringIO(), time.perf_counter()
    with contextlib.redirect_stdout(told):
        code = main(["batch", name, "--out", "out", "--json", "--set", f"autoregressive.candidates={CANDIDATES}",
                     "--runner", RUNNER])
    report = json.loads(told.getvalue().splitlines()[-1])
    calls = report["stage_calls"]
    return {"code": code, "seconds": time.perf_counter() - start, "calls": sum(calls.values()), "kept": report["kept"]}

def states():
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort
    found = {}
    with get_client(sync_client=True) as client:
        (run, *_) = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
        while True:
            page = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [run.id]}), limit=200,
                                         offset=sum(found.values()))
            for task in page:
                found[task.state_name] = found.get(task.state_name, 0) + 1
            if len(page) < 200:
                return found

if __name__ == "__main__":
    pathlib.Path("one.txt").write_text("A first line.")
    pathlib.Path("list.txt").write_text("\\n".join(f"This is line {n}." for n in range(LINES)))
    found = {"start": batch("one.txt")}
    found["cold"] = batch("list.txt")
    found["states"] = states()
    found["warm"] = batch("list.txt")
    shutil.rmtree("out")
    found["store"] = batch("list.txt")
    from stages.core.pipeline import shard_size
    from stages.core.route import load_route
    found["shard"] = shard_size(load_route(), LINES)
    print(json.dumps(found))
"""


def main() -> None:
    """Runs the process and prints what it cost."""
    options = argparse.ArgumentParser(description="Cost of the flow engine.")
    options.add_argument("--lines", type=int, default=1000)
    options.add_argument("--candidates", type=int, default=1, help="1: one item per utterance and stage")
    options.add_argument("--runner", default="auto")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder, "code.py")
        code.write_text(CODE, encoding="utf-8")  # a file: worker processes import the main module
        launch = "import runpy, sys; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
        arguments = (code, given.lines, given.candidates, given.runner)
        ended = Running(launch, Path(folder), *arguments, home=Path(folder, "prefect")).wait()
    found, pieces = ended.result, given.lines * STAGES
    expected = -(-given.lines // found["shard"]) * STAGES
    recorded = sum(n for state, n in found["states"].items() if state in ("Completed", "Cached"))
    codes = [found[name]["code"] for name in ("start", "cold", "warm", "store")]
    report = {
        "lines": given.lines, "candidates": given.candidates, "runner": given.runner, "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2), "exit_codes": codes,
        "shard": found["shard"], "task_states_expected": expected, "task_states_recorded": recorded,
        "states": found["states"], "calls_cold": found["cold"]["calls"], "calls_warm": found["warm"]["calls"],
        "calls_from_store": found["store"]["calls"], "kept_warm": found["warm"]["kept"],
        "start_seconds": round(found["start"]["seconds"], 3),
        **{f"{name}_seconds": round(found[name]["seconds"], 3) for name in ("cold", "warm", "store")},
        **{f"{name}_ms_per_utterance_and_stage": round(found[name]["seconds"] * 1000 / pieces, 4)
           for name in ("cold", "warm", "store")},
        "memory_mb": ended.memory,
    }  # fmt: skip
    bars = {
        "task_states_recorded": f"(bar: {expected})", "calls_warm": "(bar: 0)", "calls_from_store": "(bar: 0)",
        "cold_ms_per_utterance_and_stage": "(bar: 2)", "warm_ms_per_utterance_and_stage": "(bar: 0.5)",
        "memory_mb": "(bar: 2000, for 10,000 lines)", "start_seconds": "(engine start, one line)",
    }  # fmt: skip
    print_rows([(name, value, bars.get(name, "")) for name, value in report.items()])
    print(json.dumps(report))


if __name__ == "__main__":
    main()
