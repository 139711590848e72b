"""All of the fault injection: SIGKILL at every write boundary and at 200 random moments (1 and 8 processes on a store),
a full, a failing and a read-only disk, flipped bits in every stored file.

    python tests/bench/bench_faults.py [--kills 200] [--every 1] [--bits 20]

Prints a table of counts and, as the last line, one JSON object. Bars: 0 finished items computed again, 0 wrong
outputs, every final tree byte-identical to that of an uninterrupted run: the column of problems is 0.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

DRIVER = Path(__file__).resolve().parents[1] / "faults" / "driver.py"


def injected(case: str, *options: object) -> dict[str, Any]:
    """The report of one case. Raises SystemExit when the driver itself fails."""
    done = subprocess.run(
        [sys.executable, str(DRIVER), case, *map(str, options)], capture_output=True, text=True, check=False
    )
    if not done.stdout.strip():
        raise SystemExit(f"{case}: the driver failed: {done.stderr.strip().splitlines()[-1:]}")
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def main() -> int:
    """Runs everything and prints it."""
    options = argparse.ArgumentParser(description="Fault injection, all of it.")
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--every", type=int, default=1)
    options.add_argument("--bits", type=int, default=20)
    given = options.parse_args()
    cases: list[tuple[str, tuple[object, ...]]] = [
        ("boundaries", ("--every", given.every)),
        ("moments", ("--kills", given.kills)),
        ("moments", ("--kills", given.kills, "--processes", 8)),
        ("full", ("--every", given.every)),
        ("tmpfs", ()),
        ("readonly", ()),
        ("flips", ("--bits", given.bits)),
    ]
    reports = []
    for case, arguments in cases:
        report = injected(case, *arguments)
        counts = {k: v for k, v in report.items() if k not in ("case", "problems", "seconds", "whole_run_seconds")}
        print(f"{case:12}{len(report['problems']):4} problems {report['seconds']:8.1f} s  {json.dumps(counts)}")
        for problem in report["problems"][:5]:
            print(f"{'':12}{problem}")
        reports.append(report)
    problems = sum(len(report["problems"]) for report in reports)
    print(json.dumps({"problems": problems, "cases": reports}))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
