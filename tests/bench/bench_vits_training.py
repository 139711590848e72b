"""How fast VITS trains: this trainer against coqui-tts's VITS, side by side on the CPU.

    python tests/bench/bench_vits_training.py --peer FOLDER [--batch 4] [--steps 1] [--rounds 5] [--threads 1]

FOLDER gets the peer's environment (uv, some GB) the first time; nothing of it is a dependency of this project. Both
train the VITS of the paper for LJ Speech with the paper's discriminators on as many texts and sounds of the same
lengths: search, all losses, both optimizers, 32 frames made sound, float32. What texts and sounds are does not matter
to the speed: they are random. They take turns and the median round of each counts, in seconds and in CPU seconds, which
other work on the machine disturbs less. Prints a table and, as the last line, one JSON object. Bar: 1.2 times as fast.
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
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BAR = 1.2
SYMBOLS = 67


def environment(folder: Path, torch_version: str) -> Path:
    """The Python of the peer's environment in `folder`, made when it is not there."""
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        wanted = ("coqui-tts[codec]==0.28.0", f"torch=={torch_version}", f"torchaudio=={torch_version}")
        subprocess.run(["uv", "venv", "--clear", "--python", "3.11", str(folder)], check=True)
        install = ["uv", "pip", "install", "--python", str(python), *wanted, "transformers<5", "six"]
        subprocess.run(install, check=True)
        (folder / "complete").touch()
    return python


class Peer:
    """coqui-tts in a process of its own, which sleeps while it is not its turn."""

    def __init__(self, python: Path, plan: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            [str(python), str(HERE / "vits_peer.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(plan["threads"])},
        )
        self.facts = self._ask(plan)

    def slice(self, steps: int) -> dict[str, float]:
        """Trains so many steps; seconds and CPU seconds."""
        return self._ask({"steps": steps})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the peer ended with {self.process.wait()}; run tests/bench/vits_peer.py by hand to see")
        return json.loads(line)

    def end(self) -> None:
        """Lets it go."""
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait()


def random_corpus(plan: dict[str, Any], spec: Any, folder: Path) -> Any:
    """A corpus of one batch of random texts and sounds and two utterances more, which are never looked at."""
    import numpy as np

    from stages.data.features import Corpus

    draws = np.random.default_rng(0)
    spread = lambda least, most: np.linspace(most, least, plan["batch"]).round().astype(int)  # noqa: E731
    tokens, frames = (np.append(spread(*plan[name]), [plan[name][0]] * 2) for name in ("tokens", "frames"))
    count, total = len(tokens), int(frames.sum())
    audio = (draws.uniform(-0.1, 0.1, total * spec.hop) * 32767).astype(np.int16)
    mel = draws.normal(size=(total, spec.n_mels)).astype(np.float16)
    ends = [np.linspace(0.0, f / spec.frame_rate, t) for f, t in zip(frames, tokens, strict=True)]
    return Corpus(
        folder=folder,
        ids=[f"u{i}" for i in range(count)],
        texts=[""] * count,
        speakers=["one"],
        speaker_of=np.zeros(count, np.int64),
        frame_start=np.concatenate(([0], frames.cumsum())),
        phone_start=np.concatenate(([0], tokens.cumsum())),
        mel=mel,
        audio=audio,
        pitch=np.zeros(total, np.float16),
        phones=draws.integers(1, SYMBOLS, int(tokens.sum())).astype(np.int16),
        phone_end=np.concatenate(ends),
        spec=spec,
        languages=["en"],
        language_of=np.zeros(count, np.int64),
    )


class Ours:
    """This trainer, in slices of steps of one batch."""

    def __init__(self, plan: dict[str, Any], folder: Path) -> None:
        import numpy as np

        from stages.core.audio import AudioSpec
        from stages.training.trainer import Trainer, TrainerConfig
        from stages.vits.durations import DurationsConfig
        from stages.vits.model import VitsModelConfig
        from stages.vits.objective import VitsObjective
        from stages.vits.training import VitsTrainingConfig

        spec = AudioSpec(sample_rate=22050, fmax=11025.0)
        network = VitsModelConfig(
            audio=spec, symbols=SYMBOLS, languages=("en",), durations=DurationsConfig(deterministic=False)
        )
        objective = VitsObjective(network, VitsTrainingConfig(), random_corpus(plan, spec, folder), 0)
        rows, batches = np.arange(plan["batch"]), objective.batches
        objective.batch = lambda step: batches.of(rows, np.random.default_rng(step))  # type: ignore[method-assign]
        objective.validate = lambda: {}  # type: ignore[method-assign]
        config = TrainerConfig(
            steps=1_000_000, lr=2e-4, betas=(0.8, 0.99), warmup=0, clip=1000.0, threads=plan["threads"], device="cpu",
            samples=False,
        )  # fmt: skip
        self.trainer = Trainer(objective, config, folder, {})
        self.trainer.save = lambda metrics=None: None  # type: ignore[method-assign]
        judges = objective.adversary()
        sized = {"model": objective.model, "discriminators": judges.discriminators if judges is not None else None}
        self.facts = {k: sum(p.numel() for p in v.parameters()) if v is not None else 0 for k, v in sized.items()}

    def slice(self, steps: int) -> dict[str, float]:
        """Trains so many steps; seconds and CPU seconds."""
        self.trainer.config = replace(self.trainer.config, log_every=steps)
        began, cpu = time.perf_counter(), time.process_time()
        self.trainer.run(stop_at=self.trainer.step + steps)
        return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}


def turns(sides: dict[str, Callable[[int], dict[str, float]]], steps: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds and CPU seconds of a step of each side, that take turns after one round that does not count."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, slice in sides.items():
            row = slice(steps)
            if number:
                found[name].append(row)
                print(f"  {name:10} {row['seconds'] / steps:7.2f} s {row['cpu'] / steps:7.2f} CPU s", file=sys.stderr)
    return {
        name: {k: statistics.median(row[k] for row in rows) / steps for k in ("seconds", "cpu")}
        for name, rows in found.items()
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="folder of the peer's environment")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=1, help="a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    import torch

    plan = {"threads": arguments.threads, "batch": arguments.batch, "tokens": [60, 100], "frames": [200, 400]}
    peer = Peer(environment(arguments.peer, torch.__version__.split("+")[0]), plan)
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(plan, Path(folder))
        found = turns({"ours": ours.slice, "coqui-tts": peer.slice}, arguments.steps, arguments.rounds)
    peer.end()
    ratio = {k: found["coqui-tts"][k] / found["ours"][k] for k in ("seconds", "cpu")}
    sizes = {"ours": ours.facts, "coqui-tts": peer.facts}
    print(f"{'':10}  {'s/step':>7}  {'CPU s':>7}  parameters (discriminators)")
    for name, row in found.items():
        size = sizes[name]
        print(
            f"{name:10}  {row['seconds']:7.2f}  {row['cpu']:7.2f}  {size['model'] / 1e6:.1f} M "
            f"({size['discriminators'] / 1e6:.1f} M)"
        )
    print(f"times as fast: {ratio['seconds']:.2f} ({ratio['cpu']:.2f} by CPU time); bar {BAR}")
    print(json.dumps({**{f"{k}_{u}": v for k, row in found.items() for u, v in row.items()}, "ratio": ratio, **plan}))


if __name__ == "__main__":
    main()
