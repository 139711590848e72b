"""Real-time factor of the vits route and of the tortoise route, sentence by sentence, side by side in one process.

    python tests/bench/bench_vits_say.py [--rounds 5] [--threads 2] [--voice slt] [--checkpoint FOLDER] [--sentences 8]

From text to sound at each route's default preset, weights loaded, nothing cached: every round has another seed, and the
routes take turns within it. Prints a table and, as the last line, one JSON object. The machine should be quiet; no test
asserts these numbers. Bar of the issue: vits RTF <= 0.15 on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
TEXTS = ROOT / "configs" / "evaluate" / "ordinary.txt"
BAR = 0.15


class Round(NamedTuple):
    """What it took to say the texts one after the other."""

    seconds: float
    cpu: float
    """seconds of CPU: what else the machine does counts less"""
    stages: dict[str, float]
    """seconds"""
    audio: float
    """seconds of speech"""


def spoken(route: Any, voice: Any, texts: list[str], seed: int) -> Round:
    """Says texts with an empty store. Raises SystemExit for one that gets no sound."""
    from stages.core.artifacts import MemoryStore
    from stages.core.pipeline import Pipeline

    pipeline, store, audio, work, cpu = Pipeline(route), MemoryStore(), 0.0, 0.0, 0.0
    for text in texts:
        start, before = time.perf_counter(), time.process_time()
        document = pipeline.document(text, voice, seed)
        pipeline.compute([document], store)
        found = pipeline.result(document, store).audio
        work, cpu = work + time.perf_counter() - start, cpu + time.process_time() - before
        if found is None:
            raise SystemExit(f"{route.name}: no sound for {text!r}")
        audio += found.samples.size / found.sample_rate
    return Round(work - pipeline.report.load_seconds, cpu, dict(pipeline.report.stage_seconds), audio)


def main() -> None:
    """Runs everything and prints it."""
    options = argparse.ArgumentParser(description="RTF of the routes vits and tortoise, side by side.")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--voice", default="slt")
    options.add_argument("--checkpoint", default="artifacts/starter/vits")
    options.add_argument("--sentences", type=int, default=8)
    options.add_argument("--routes", nargs="+", default=["vits", "tortoise"])
    given = options.parse_args()

    import torch

    from stages.core.route import load_route
    from stages.core.voices import load_voice

    texts = TEXTS.read_text(encoding="utf-8").splitlines()[: given.sentences]
    voice = load_voice(given.voice)
    sets = {"vits": [f"vits.checkpoint={given.checkpoint}"]}
    routes = {name: load_route(name, sets=sets.get(name, ())) for name in given.routes}
    for route in routes.values():
        spoken(route, voice, texts[:2], 1_000_000)  # loads the weights, which sets one thread, and warms up
    torch.set_num_threads(given.threads)
    rows: dict[str, list[Round]] = {name: [] for name in routes}
    for seed in range(given.rounds):
        for name, route in routes.items():
            rows[name].append(spoken(route, voice, texts, seed))
    report = {
        "threads": torch.get_num_threads(), "cores": os.cpu_count(), "rounds": given.rounds, "sentences": len(texts),
        "voice": given.voice, "rtf": {}, "cpu_rtf": {},
    }  # fmt: skip
    print(f"{'route':10} {'preset':8} {'RTF median':>10} {'least':>7} {'most':>7} {'CPU RTF':>8}  by stage")
    for name, found in rows.items():
        rtf = [each.seconds / each.audio for each in found]
        report["rtf"][name] = round(statistics.median(rtf), 4)
        report["cpu_rtf"][name] = round(statistics.median(each.cpu / each.audio for each in found), 4)
        stages = {s: statistics.median(each.stages[s] / each.audio for each in found) for s in found[0].stages}
        shares = ", ".join(f"{stage} {value:.4f}" for stage, value in stages.items())
        print(f"{name:10} {routes[name].preset:8} {report['rtf'][name]:10.4f} {min(rtf):7.4f} {max(rtf):7.4f} "
              f"{report['cpu_rtf'][name]:8.4f}  {shares}")  # fmt: skip
    if {"vits", "tortoise"} <= set(report["rtf"]):
        report["faster"] = round(report["rtf"]["tortoise"] / report["rtf"]["vits"], 2)
        print(f"vits is {report['faster']:.1f} x as fast as tortoise; bar {BAR}: "
              f"{'met' if report['rtf']['vits'] <= BAR else 'missed'}")  # fmt: skip
    print(json.dumps(report))


if __name__ == "__main__":
    main()
