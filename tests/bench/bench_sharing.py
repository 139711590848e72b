"""Two processes on one cold store: how much they compute twice, and how much sooner both are done than one alone.

    python tests/bench/bench_sharing.py [--lines 200] [--milliseconds 5] [--runner inline threads]

Fake stages that sleep for each item, so that two processes on any machine can be twice as fast as one. Bar: 5 % of the
items computed twice. Prints a table and, as the last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from processes import Running, print_rows

CODE = """
import contextlib, io, json, os, pathlib, sys, time
import slowstages
slowstages.install(pathlib.Path("world"))
from flows.cli import main

OUT, RUNNER, OTHERS = sys.argv[1], sys.argv[2], int(sys.argv[3])
arguments = ["batch", "world/list.txt", "--out", OUT, "--json", "--runner", RUNNER, "--preset", "ultra_fast"]
if RUNNER != "inline":  # the engine first, on a store of its own: what is compared is the work, not the start
    pathlib.Path(f"{OUT}.txt").write_text("First.")
    with contextlib.redirect_stdout(io.StringIO()):
        main(["batch", f"{OUT}.txt", "--out", f"{OUT}.first", "--runner", RUNNER, "--set", f"cache.dir={OUT}.store"])
pathlib.Path(f"ready-{OUT}").touch()
while len(list(pathlib.Path(".").glob("ready-*"))) < OTHERS:
    time.sleep(0.005)
told, start = io.StringIO(), time.time()
with contextlib.redirect_stdout(told):
    code = main([*arguments, "--set", "workers=1"])
report = json.loads(told.getvalue().splitlines()[-1])
print(json.dumps({"code": code, "calls": report["stage_calls"], "start": start, "end": time.time()}))
"""


def together(runner: str, count: int, lines: int, seconds: float) -> tuple[list[Any], float, list[dict[str, bytes]]]:
    """So many processes on one new store: their results, seconds until all are done, and their output folders."""
    import slowstages

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "world").mkdir()
        slowstages.write(folder, seconds)
        texts = "\n".join(f"This is line {'again ' * (n % 5)}{n}." for n in range(lines))
        (folder / "world" / "list.txt").write_text(texts, encoding="utf-8")
        running = [Running(CODE, folder, f"out{n}", runner, count, home=folder / f"prefect{n}") for n in range(count)]
        results = [process.wait().result for process in running]
        outputs = [
            {path.name: path.read_bytes() for path in (folder / f"out{n}").iterdir() if path.name != "config.yaml"}
            for n in range(count)
        ]
    return results, max(r["end"] for r in results) - min(r["start"] for r in results), outputs


def measured(runner: str, lines: int, seconds: float) -> dict[str, Any]:
    """One process, then two."""
    (alone,), one, (wanted,) = together(runner, 1, lines, seconds)
    both, two, outputs = together(runner, 2, lines, seconds)
    distinct = sum(alone["calls"].values())
    calls = [sum(result["calls"].values()) for result in both]
    return {
        "runner": runner, "lines": lines, "exit_codes": [alone["code"], *(result["code"] for result in both)],
        "distinct_items": distinct, "computed": calls, "computed_twice": round(sum(calls) / distinct - 1, 4),
        "same_bytes": all(output == wanted for output in outputs),
        "one_process_seconds": round(one, 3), "two_processes_seconds": round(two, 3), "speed_up": round(one / two, 3),
    }  # fmt: skip


def main() -> None:
    """Runs each runner and prints it."""
    options = argparse.ArgumentParser(description="Two processes on one store.")
    options.add_argument("--lines", type=int, default=200)
    options.add_argument("--milliseconds", type=float, default=5.0, help="that an item takes")
    options.add_argument("--runner", nargs="+", default=["inline", "threads"])
    given = options.parse_args()
    reports = []
    for runner in given.runner:
        start = time.perf_counter()
        report = measured(runner, given.lines, given.milliseconds / 1000)
        remarks = {"computed_twice": "(bar: 0.05)", "same_bytes": "(bar: True)"}
        print_rows([(name, value, remarks.get(name, "")) for name, value in report.items()])
        print(f"{'':44}{time.perf_counter() - start:14.1f}  s in all\n")
        reports.append(report)
    print(json.dumps({"cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 2), "runs": reports}))


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))
    main()
