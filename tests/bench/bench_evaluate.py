"""How long an evaluation takes with an empty cache, by kind of step.

    python tests/bench/bench_evaluate.py [CONFIG] [--limit 100] [--set KEY=VALUE …]

Prints a table and, as the last line, one JSON object. The machine should be quiet; no test asserts these numbers. The
share of the cores that this run got says how quiet it was. Bar of the README: 100 sentences in <= 5 min on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def cpu_seconds() -> float:
    """Of this process and its ended children."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", default=str(ROOT / "configs" / "evaluate" / "starter.yaml"))
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    start, cpu = time.perf_counter(), cpu_seconds()
    from stages.evaluation.run import evaluate, prepare

    by_kind: dict[str, float] = {}

    def step(name, work):
        begin = time.perf_counter()
        value = work()
        kind = name.split()[0]
        by_kind[kind] = by_kind.get(kind, 0.0) + time.perf_counter() - begin
        return value

    with tempfile.TemporaryDirectory() as folder:
        own = [f"limit={given.limit}", f"cache.dir={folder}/cache", f"out={folder}/report", "flow=false"]
        report = evaluate(prepare(given.config, [*own, *given.set]), step)
    wall, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    print(report.table())
    by_kind["rest"] = wall - sum(by_kind.values())
    cores = cpu / wall
    print("\n" + "\n".join(f"{kind:10} {seconds:8.1f} s" for kind, seconds in by_kind.items()))
    print(
        f"{'wall':10} {wall:8.1f} s, CPU {cpu:.1f} s, so it got {cores:.2f} cores; on 2 quiet ones >= {cpu / 2:.1f} s"
    )
    line = {"sentences": report.items, "systems": len(report.rows), "wall": round(wall, 1), "cpu": round(cpu, 1)}
    print(json.dumps(line | {"by_kind": {k: round(v, 1) for k, v in by_kind.items()}}))


if __name__ == "__main__":
    main()
