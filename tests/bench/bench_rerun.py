"""What a rerun computes: the starter models on a corpus, then the same corpus again, unchanged and changed.

    python tests/bench/bench_rerun.py [--lines 40] [--runner auto]

Each run is a process of its own. Counts of model calls come first, times after. Bars: an unchanged rerun makes 0 model
calls and imports neither torch nor prefect, for 1,000 lines in <= 10 s and >= 200 times faster; one edited line runs
exactly its own chain; other diffusion steps leave text, autoregressive and rerank alone; shard size, order and workers
change nothing. Prints a table and, as the last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from processes import ROOT, print_rows

CODE = """
import json, sys
from flows.cli import main
code = main(sys.argv[1:])
print(json.dumps([code, "torch" in sys.modules, "prefect" in sys.modules]))
"""


def batch(folder: Path, corpus: str, out: str, *extra: str) -> dict[str, Any]:
    """One `caretta batch` in a process of its own. Raises SystemExit when it cannot run."""
    command = [sys.executable, "-c", CODE, "batch", str(folder / corpus), "--out", str(folder / out), "--json",
               "--set", f"cache.dir={folder / 'cache'}", *extra]  # fmt: skip
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"a run of the bench failed: {done.stderr.strip().splitlines()[-1:]}")
    report, (code, torch, prefect) = map(json.loads, done.stdout.splitlines()[-2:])
    if code:
        raise SystemExit(f"a run of the bench ended with {code}: {done.stderr.strip().splitlines()[-1:]}")
    calls = report["stage_calls"]
    return {"calls": calls, "total": sum(calls.values()), "kept": report["kept"], "seconds": round(seconds, 3),
            "torch": torch, "prefect": prefect}  # fmt: skip


def texts(count: int) -> list[str]:
    """Distinct lines of one sentence each."""
    sentences = (ROOT / "configs" / "evaluate" / "ordinary.txt").read_text(encoding="utf-8").splitlines()
    rounds = ("", "Today, ", "At last, ", "It is said that ", "In the end, ", "We know that ", "They say that ",
              "Once more, ", "I think that ", "Of course, ")  # fmt: skip
    found = [f"{start}{text[0].lower() + text[1:] if start else text}" for start in rounds for text in sentences]
    if count > len(found):
        raise SystemExit(f"--lines {count}: there are {len(found)} distinct lines; give that many at most")
    return found[:count]


def write(path: Path, lines: dict[str, str]) -> None:
    path.write_text("".join(json.dumps({"id": k, "text": v}) + "\n" for k, v in lines.items()), encoding="utf-8")


def runs(folder: Path, count: int, runner: str) -> dict[str, dict[str, Any]]:
    """Every run, by name."""
    lines = {f"{n:04d}": text for n, text in enumerate(texts(count))}
    write(folder / "list.jsonl", lines)
    write(folder / "edited.jsonl", lines | {"0000": "This line was edited."})
    write(folder / "reversed.jsonl", dict(reversed(lines.items())))
    how = ("--runner", runner)
    found = {"first": batch(folder, "list.jsonl", "out", *how)}
    found["unchanged"] = batch(folder, "list.jsonl", "out", *how)
    found["unchanged, no output folder"] = batch(folder, "list.jsonl", "again", *how)
    found["reversed, shards of 7, 1 worker"] = batch(
        folder, "reversed.jsonl", "reversed", *how, "--set", "shard=7", "--set", "workers=1"
    )
    found["one line edited"] = batch(folder, "edited.jsonl", "out", *how)
    found["diffusion.steps=4"] = batch(folder, "list.jsonl", "steps", *how, "--set", "diffusion.steps=4")
    sounds = {name: {p.name: p.read_bytes() for p in (folder / name).glob("*.wav")} for name in ("again", "reversed")}
    found["reversed, shards of 7, 1 worker"]["same_bytes"] = sounds["again"] == sounds["reversed"]
    return found


def problems(found: dict[str, dict[str, Any]]) -> list[str]:
    """Which counts are not as they must be."""
    said = []
    for name in ("unchanged", "unchanged, no output folder", "reversed, shards of 7, 1 worker"):
        run = found[name]
        if run["total"] or run["torch"] or run["prefect"]:
            said.append(f"{name}: {run['total']} calls, torch {run['torch']}, prefect {run['prefect']}")
    if not found["reversed, shards of 7, 1 worker"]["same_bytes"]:
        said.append("another order gives other bytes")
    first = found["first"]
    count = first["calls"]["text"]
    for stage, calls in found["one line edited"]["calls"].items():
        if calls != first["calls"][stage] // count:
            said.append(f"one line edited: {calls} calls of {stage}, not {first['calls'][stage] // count}")
    for stage, calls in found["diffusion.steps=4"]["calls"].items():
        wanted = first["calls"][stage] if stage in ("diffusion", "vocoder") else 0
        if calls != wanted:
            said.append(f"diffusion.steps=4: {calls} calls of {stage}, not {wanted}")
    return said


def main() -> int:
    """Runs everything and prints it."""
    options = argparse.ArgumentParser(description="What a rerun computes.")
    options.add_argument("--lines", type=int, default=40)
    options.add_argument("--runner", default="auto")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = runs(Path(folder), given.lines, given.runner)
    said = problems(found)
    for name, run in found.items():
        print(f"{name:34}{run['total']:7} calls  {run['kept']:5} kept  {json.dumps(run['calls'])}")
    ratio = found["first"]["seconds"] / found["unchanged"]["seconds"]
    print_rows([(f"{name}: seconds", run["seconds"], "") for name, run in found.items()])
    print_rows([("first / unchanged", ratio, "(bar: 200, for 1,000 lines)")])
    for problem in said:
        print(problem)
    print(json.dumps({
        "lines": given.lines, "problems": said, "ratio": round(ratio, 1), "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2), "runs": found,
    }))  # fmt: skip
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
