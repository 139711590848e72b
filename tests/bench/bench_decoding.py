"""How fast the autoregressive stage decodes: sentences one at a time against all of them in one call, side by side.

    python tests/bench/bench_decoding.py [--sentences 32] [--rounds 3] [--candidates 8] [--voice rms]

Prints a table and, as the last line, one JSON object. One thread, as in production; the two ways take turns and the
best round of each counts, so that a busy machine hurts both alike. Waste is the share of the tile's row-steps that gave
no code of a candidate. Bars: a batch is 2.5 times as fast an item, waste <= 10 %. Both ways must give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import torch

from stages.autoregressive.config import AutoregressiveConfig
from stages.autoregressive.decoding import ROWS, SLOTS, Work
from stages.autoregressive.stage import AutoregressiveStage
from stages.core.seeding import item_seed
from stages.core.stage import Item
from stages.core.types import Candidate, Phonemes, Voice
from stages.core.voices import load_voice
from stages.text.config import TextConfig
from stages.text.stage import TextStage

SENTENCES = Path(__file__).resolve().parents[2] / "configs" / "evaluate" / "ordinary.txt"


def items_and_seeds(count: int, candidates: int, voice: str) -> tuple[list[Item], list[list[int]]]:
    """The first sentences of SENTENCES as the stage gets them."""
    lines = SENTENCES.read_text().splitlines()[:count]
    spoken, heard = TextStage.load(TextConfig()).run([{str: line} for line in lines]), load_voice(voice)
    items: list[Item] = [{Phonemes: phonemes, Voice: heard} for phonemes in spoken]
    return items, [[item_seed(0, "autoregressive", line, k) for k in range(candidates)] for line in lines]


def milliseconds(
    stage: AutoregressiveStage, items: list[Item], seeds: list[list[int]], at_once: int
) -> tuple[float, Work, list[list[Candidate]]]:
    """Time an item in calls of `at_once` items, the work, and the candidates."""
    out, stage.work = [], Work()
    start = time.perf_counter()
    for n in range(0, len(items), at_once):
        out += stage.run(items[n : n + at_once], seeds=seeds[n : n + at_once])
    return 1000 * (time.perf_counter() - start) / len(items), stage.work, out


def bytes_of(candidates: list[list[Candidate]]) -> list[list[tuple[bytes, float]]]:
    """What must not depend on the batch."""
    return [[(c.codes.codes.tobytes(), c.log_prob) for c in own] for own in candidates]


def main() -> None:
    """Runs both ways in turn and prints what they took."""
    options = argparse.ArgumentParser(description="Decoding one sentence at a time and many at once.")
    options.add_argument("--sentences", type=int, default=32)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--candidates", type=int, default=8)
    options.add_argument("--voice", default="rms")
    given = options.parse_args()
    torch.set_num_threads(1)
    stage = AutoregressiveStage.load(AutoregressiveConfig(), "cpu")
    items, seeds = items_and_seeds(given.sentences, given.candidates, given.voice)
    stage.run(items[:1], seeds=seeds[:1])
    singles, batches = [], []
    for _ in range(given.rounds):
        singles.append(milliseconds(stage, items, seeds, 1))
        batches.append(milliseconds(stage, items, seeds, len(items)))
        if bytes_of(singles[-1][2]) != bytes_of(batches[-1][2]):
            raise SystemExit("the batch changed the bytes of a candidate")
    single, batch = min(s for s, _, _ in singles), min(s for s, _, _ in batches)
    work = batches[0][1]
    report = {
        "sentences": len(items), "candidates": given.candidates, "tile": SLOTS * ROWS, "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "single_ms": round(single, 1), "batch_ms": round(batch, 1), "ratio": round(single / batch, 2),
        "steps": work.steps // (SLOTS * ROWS), "waste": round(work.waste, 4),
    }  # fmt: skip
    bars = {"ratio": "(bar 2.5)", "waste": "(bar 0.1)"}
    for name, value in report.items():
        print(f"{name:14} {value!s:>10} {bars.get(name, '')}".rstrip())
    print(json.dumps(report))


if __name__ == "__main__":
    main()
