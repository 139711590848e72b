"""How long `caretta say` takes and how much memory: a ten-word sentence with weights and packages in the disk cache and
an empty artifact store, each time a new process; and `caretta --help`.

    python tests/bench/bench_say.py [--runs 3] [--preset fast] [--voice rms]

Prints a table and, as the last line, one JSON object. The machine should be quiet; no test asserts these numbers.
Bars of the README: say <= 10 s wall, synthesis RTF <= 1, peak memory <= 1500 MB, --help <= 0.5 s.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SENTENCE = "The old ferry leaves the quiet harbor early every morning."
CARETTA = [sys.executable, "-m", "flows.cli"]


@dataclass(frozen=True)
class Run:
    """One process."""

    seconds: float
    """wall time from its start to its end"""
    memory: float
    """MB, the most it held at once"""
    output: str


def measured(command: list[str], cwd: str) -> Run:
    """Runs a command. Raises SystemExit with its last line on stderr when it fails."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, cwd=cwd, stdout=out, stderr=err, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        text, complaint = out.read().decode(), err.read().decode().strip()
    if process.returncode:
        raise SystemExit(f"{' '.join(command[2:4])} failed: {(complaint or text).splitlines()[-1:]}")
    scale = 1.0 if sys.platform == "darwin" else 1024.0
    return Run(seconds, usage.ru_maxrss * scale / 1e6, text)


def say(preset: str, voice: str) -> tuple[Run, dict[str, object]]:
    """One cold sentence; what it took and its own JSON report."""
    with tempfile.TemporaryDirectory() as folder:
        extra = ["--preset", preset, "--voice", voice, "--set", f"cache.dir={folder}/cache"]
        run = measured([*CARETTA, "say", SENTENCE, "-o", f"{folder}/say.wav", "--json", *extra], str(ROOT))
    return run, json.loads(run.output.splitlines()[-1])


def main() -> None:
    """Runs everything and prints it."""
    options = argparse.ArgumentParser(description="Time and memory of `caretta say` and `caretta --help`.")
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--preset", default="fast")
    options.add_argument("--voice", default="rms")
    given = options.parse_args()
    helps = [measured([*CARETTA, "--help"], str(ROOT)).seconds for _ in range(given.runs + 1)][
        1:
    ]  # the first warms the disk
    say(given.preset, given.voice)
    says = [say(given.preset, given.voice) for _ in range(given.runs)]
    report = {
        "runs": given.runs, "preset": given.preset, "voice": given.voice, "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "help_seconds": round(statistics.median(helps), 3),
        "say_seconds": round(statistics.median(run.seconds for run, _ in says), 3),
        "say_seconds_worst": round(max(run.seconds for run, _ in says), 3),
        "say_memory_mb": round(max(run.memory for run, _ in says), 1),
        "load_seconds": statistics.median(float(str(r["load_seconds"])) for _, r in says),
        "audio_seconds": says[0][1]["audio_seconds"],
        "rtf": statistics.median(float(str(r["rtf"])) for _, r in says),
        "stage_seconds": says[-1][1]["stage_seconds"],
    }  # fmt: skip
    bars = {"help_seconds": 0.5, "say_seconds": 10.0, "say_memory_mb": 1500.0, "rtf": 1.0}
    for name in (
        "help_seconds",
        "say_seconds",
        "say_seconds_worst",
        "say_memory_mb",
        "load_seconds",
        "audio_seconds",
        "rtf",
    ):
        bar = f"(bar {bars[name]:g})" if name in bars else ""
        print(f"{name:20} {report[name]!s:>10} {bar}".rstrip())
    print(json.dumps(report))


if __name__ == "__main__":
    main()
