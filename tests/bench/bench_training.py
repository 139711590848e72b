"""How fast the decoder trains: this trainer against a plain Hugging Face `Trainer`, side by side.

    python tests/bench/bench_training.py [--steps 12] [--rounds 3] [--threads 1] [--features FOLDER] [--codes FOLDER]

Needs transformers and accelerate (`uv run --with transformers --with accelerate python …`). Both train a GPT-2 of the
same width, depth and heads in the same precision on the same items of the starter corpus: voice latents, phones and
codes. The Hugging Face one reads the positions as tokens, with the collator's padding, random batches of as many items,
and its defaults otherwise; ours also encodes the reference voice. They take turns and the best round of each counts. A
position is one that is real: padding is no work done. Prints a table and, as the last line, one JSON object. Bars: 1.5
times as many positions a second, padding <= 10 %, >= 95 % of a step is computing.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.autoregressive.model import AutoregressiveModelConfig
from stages.autoregressive.objective import AutoregressiveObjective, AutoregressiveTrainingConfig
from stages.data.features import Corpus, load_features
from stages.training.trainer import Trainer, TrainerConfig

ROOT = Path(__file__).resolve().parents[2]
IGNORE = -100


def lengths_of(objective: AutoregressiveObjective) -> np.ndarray:
    """(U,) positions of each item that is trained on."""
    return objective.buckets.lengths


class Ours:
    """This trainer, in slices of steps."""

    def __init__(self, objective: AutoregressiveObjective, config: TrainerConfig, folder: Path) -> None:
        objective.validate = lambda: {}  # type: ignore[method-assign]
        self.objective, self.folder = objective, folder
        self.trainer = Trainer(objective, replace(config, samples=False), folder, {})
        self.trainer.save = lambda metrics=None: None  # type: ignore[method-assign]

    def slice(self, steps: int) -> dict[str, float]:
        """Trains so many steps; positions, seconds, CPU seconds, share of the time spent waiting for batches."""
        first = self.trainer.step
        rows = [self.objective.buckets.batch(n) for n in range(first, first + steps)]
        self.trainer.config = replace(self.trainer.config, log_every=steps)
        cpu = time.process_time()
        self.trainer.run(stop_at=first + steps)
        cpu = time.process_time() - cpu
        row = [r for r in self.trainer.record.rows() if r["kind"] == "train"][-1]
        positions = sum(int(lengths_of(self.objective)[r].sum()) for r in rows)
        return {
            "positions": positions, "seconds": row["_seconds"] * steps, "cpu": cpu, "data": row["_data"],
            "padding": row["_padding"],
        }  # fmt: skip


class Items(torch.utils.data.Dataset):
    """Token sequences: latents and phones as symbols after the codes, then the codes."""

    def __init__(self, objective: AutoregressiveObjective, corpus: Corpus) -> None:
        size, latents = objective.config.codes, objective.config.latents
        self.rows = [
            np.concatenate(([size] * latents, size + corpus.phones[corpus.phones_of(i)], objective.codes.of(i)))
            for i in objective.rows
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, list[int]]:
        return {"input_ids": self.rows[i].tolist()}


def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Padded to the longest, as transformers' own collators do."""
    longest = max(len(r["input_ids"]) for r in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    real = torch.zeros_like(ids)
    for n, row in enumerate(rows):
        ids[n, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
        real[n, : len(row["input_ids"])] = 1
    return {"input_ids": ids, "attention_mask": real, "labels": ids.masked_fill(real == 0, IGNORE)}


class Theirs:
    """The Hugging Face Trainer with its defaults."""

    def __init__(self, items: Items, objective: AutoregressiveObjective, options: dict[str, Any], folder: Path) -> None:
        from transformers import GPT2Config, GPT2LMHeadModel

        shape, longest = objective.config, max(map(len, items.rows))
        config = GPT2Config(
            vocab_size=shape.codes + shape.symbols, n_positions=longest, n_embd=shape.width, n_layer=shape.depth,
            n_head=shape.heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        self.model, self.items, self.options, self.folder = GPT2LMHeadModel(config), items, options, folder

    def slice(self, steps: int) -> dict[str, float]:
        """As Ours.slice."""
        from transformers import Trainer as Plain
        from transformers import TrainerCallback, TrainingArguments

        seen, clock = [], {"began": 0.0, "ended": 0.0, "cpu": 0.0}

        class Watch(TrainerCallback):
            def on_epoch_begin(self, *_: Any, **__: Any) -> None:
                clock.update(began=time.perf_counter(), cpu=time.process_time())

            def on_step_end(self, *_: Any, **__: Any) -> None:
                clock.update(ended=time.perf_counter(), spent=time.process_time() - clock["cpu"])

        def counted(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
            seen.append((sum(len(r["input_ids"]) for r in rows), len(rows) * max(len(r["input_ids"]) for r in rows)))
            return collate(rows)

        arguments = TrainingArguments(
            str(self.folder), max_steps=steps, use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True,
            **self.options,
        )  # fmt: skip
        Plain(self.model, arguments, counted, self.items, callbacks=[Watch()]).train()
        real, padded = (sum(pair[n] for pair in seen[:steps]) for n in (0, 1))
        return {
            "positions": real, "seconds": clock["ended"] - clock["began"], "cpu": clock["spent"],
            "padding": 1 - real / padded,
        }  # fmt: skip


def best(rounds: list[dict[str, float]], clock: str) -> float:
    """Positions a second in the best round."""
    return max(r["positions"] / r[clock] for r in rounds)


def main() -> None:
    """Trains both in turn and prints how fast they were."""
    parser = argparse.ArgumentParser(description="This trainer against a plain Hugging Face Trainer.")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--positions", type=int, default=3000)
    parser.add_argument("--grouped", action="store_true", help="the plain one groups items by length, not its default")
    parser.add_argument("--features", help="folder of the corpus's features; by default one of the starter corpus")
    parser.add_argument("--codes", default=str(ROOT / "artifacts" / "starter" / "codes"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    folders = sorted((ROOT / "artifacts" / "data" / "starter").glob("features-*/codes-*.npy"))
    if not given.features and not folders:
        raise SystemExit("no features of the starter corpus; run `caretta prepare configs/data/starter.yaml` first")
    corpus = load_features(given.features or folders[-1].parent)
    torch.manual_seed(1)
    training = AutoregressiveTrainingConfig(codes=given.codes, positions=given.positions)
    objective = AutoregressiveObjective(AutoregressiveModelConfig(), training, corpus, 1)
    config = TrainerConfig(steps=10**6, lr=9e-4, threads=given.threads, device="cpu", save_minutes=1e9)
    batch = round(np.mean([len(objective.buckets.batch(n)) for n in range(200)]))
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(objective, config, Path(folder) / "ours")
        options = {"per_device_train_batch_size": batch, "learning_rate": config.lr}
        if given.grouped:
            options["train_sampling_strategy"] = "group_by_length"
        theirs = Theirs(Items(objective, corpus), objective, options, Path(folder) / "theirs")
        ours.slice(2), theirs.slice(2)  # to warm up
        rounds = [(ours.slice(given.steps), theirs.slice(given.steps)) for _ in range(given.rounds)]
    mine, plain = zip(*rounds, strict=True)
    report = {
        "threads": given.threads, "grouped": given.grouped, "steps": given.steps, "rounds": given.rounds, 
        "load_average": round(os.getloadavg()[0], 2),
        "items_a_batch": batch, "ours": round(best(mine, "seconds")), "plain": round(best(plain, "seconds")),
        "ratio": round(best(mine, "seconds") / best(plain, "seconds"), 2),
        "ratio_cpu": round(best(mine, "cpu") / best(plain, "cpu"), 2),
        "padding": round(float(np.mean([r["padding"] for r in mine])), 3),
        "plain_padding": round(float(np.mean([r["padding"] for r in plain])), 3),
        "computing": round(1 - float(np.mean([r["data"] for r in mine])), 4),
    }  # fmt: skip
    print(f"{'':24}{'ours':>10}{'plain':>10}")
    print(f"{'positions a second':24}{report['ours']:>10}{report['plain']:>10}   {report['ratio']} times")
    print(f"{'padding':24}{report['padding']:>10.1%}{report['plain_padding']:>10.1%}")
    print(f"{'computing':24}{report['computing']:>10.1%}")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
