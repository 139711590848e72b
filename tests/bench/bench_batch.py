"""Throughput: `caretta batch` of N lines against N `caretta say` calls in a process that has its models loaded.

    uv run python tests/bench/bench_batch.py [--lines 200] [--preset fast] [--runner auto]

Both start with an empty store and must give the same sounds. `say` calls are timed after one that loads the models.
`batch` is timed as a user runs it: with the start of Python, of the flow engine, of its workers and of the models.
Bar: batch speaks at least 3 times as many lines a second. The last line of the output is one JSON object.
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

ROOT = Path(__file__).resolve().parents[2]
BAR = 3.0

SAY = """
import sys, time
from flows.cli import main
lines = open("lines.txt").read().splitlines()
rest = ["--set", "cache.dir=say-store", "--preset", sys.argv[1]]
main(["say", "This sentence loads the models.", "-o", "warm.wav", *rest])
start = time.perf_counter()
for number, line in enumerate(lines):
    assert main(["say", line, "-o", f"say-{number}.wav", *rest]) == 0
print("seconds", time.perf_counter() - start)
"""


def lines(count: int) -> list[str]:
    """Ordinary sentences of the evaluation set; beyond its 120, each again with another beginning: no two are alike."""
    text = (ROOT / "configs" / "evaluate" / "ordinary.txt").read_text(encoding="utf-8")
    sentences = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found = list(sentences)
    for beginning in ("Tomorrow", "In winter", "As they say", "After lunch", "This time", "Once more", "In the end"):
        found += [f"{beginning}, {sentence[0].lower()}{sentence[1:]}" for sentence in sentences]
    return found[:count]


def run(arguments: list[str], folder: Path) -> tuple[float, str]:
    """Seconds of wall time, and what was printed."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False, env=environment(folder)
    )
    if done.returncode:
        raise SystemExit(f"{arguments[:4]} failed: {done.stderr[-1000:]}")
    return time.perf_counter() - start, done.stdout


def environment(folder: Path) -> dict[str, str]:
    """This environment with the repository importable and a Prefect home of its own."""
    return os.environ | {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(folder / "prefect"), "OMP_NUM_THREADS": "1"}


def same(folder: Path, count: int) -> bool:
    """Whether both ways gave the same bytes."""
    width = max(4, len(str(count)))
    pairs = ((folder / f"say-{n}.wav", folder / "out" / f"{n + 1:0{width}d}.wav") for n in range(count))
    return all(a.read_bytes() == b.read_bytes() for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=200)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--runner", default="auto")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wanted = lines(chosen.lines)
        (folder / "lines.txt").write_text("\n".join(wanted), encoding="utf-8")
        batch = ["-m", "flows.cli", "batch", "lines.txt", "--out", "out", "--json", "--preset", chosen.preset]
        wall, printed = run([*batch, "--runner", chosen.runner, "--set", "cache.dir=batch-store"], folder)
        report = json.loads(printed.splitlines()[-1])
        _, printed = run(["-c", SAY, chosen.preset], folder)
        say = float(printed.rsplit("seconds", 1)[1])
        found = {
            "lines": len(wanted),
            "audio_seconds": report["audio_seconds"],
            "say_seconds": round(say, 1),
            "batch_seconds": round(wall, 1),
            "ratio": round(say / wall, 2),
            "bar": BAR,
            "same_bytes": same(folder, len(wanted)),
            "batch_rtf": round(wall / report["audio_seconds"], 4),
            "stage_seconds": report["stage_seconds"],
        }
    print(f"{'say, one by one':24}{found['say_seconds']:>10} s")
    print(f"{'batch':24}{found['batch_seconds']:>10} s   {found['ratio']} times as fast (bar {BAR})")
    print(f"same bytes: {found['same_bytes']}; stages {report['stage_seconds']}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
