"""Trains one model from a YAML file, in plain Python.

`python -m stages.training.run configs/train/starter/codes.yaml --minutes 9`

Needs torch and this repository only (no Prefect), so it also runs on a bare GPU machine, in slices that resume.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core.audio import AudioSpec
from stages.core.config import ConfigError, build, merge, near_miss, parse_set, read_with_base
from stages.training.trainer import Trainer, TrainerConfig, TrainingError

OBJECTIVES = {
    "codes": (
        "stages.codes.objective:CodesObjective",
        "stages.codes.model:CodesModelConfig",
        "stages.codes.objective:CodesTrainingConfig",
    ),
    "autoregressive": (
        "stages.autoregressive.objective:AutoregressiveObjective",
        "stages.autoregressive.model:AutoregressiveModelConfig",
        "stages.autoregressive.objective:AutoregressiveTrainingConfig",
    ),
    "rerank": (
        "stages.rerank.objective:RerankObjective",
        "stages.rerank.model:RerankModelConfig",
        "stages.rerank.objective:RerankTrainingConfig",
    ),
    "diffusion": (
        "stages.diffusion.objective:DiffusionObjective",
        "stages.diffusion.model:DiffusionModelConfig",
        "stages.diffusion.objective:DiffusionTrainingConfig",
    ),
    "vocoder": (
        "stages.vocoder.objective:VocoderObjective",
        "stages.vocoder.model:VocoderModelConfig",
        "stages.vocoder.objective:VocoderTrainingConfig",
    ),
}


@dataclass(frozen=True)
class TrainingRun:
    """A training config file: which model, on what, where to."""

    model: str
    folder: str
    manifest: str = "artifacts/data/starter/manifest.jsonl"
    audio: AudioSpec = field(default_factory=AudioSpec)
    network: dict[str, Any] = field(default_factory=dict)
    """the model's hyper-parameters (its ModelConfig)"""
    objective: dict[str, Any] = field(default_factory=dict)
    """losses, batches and inputs (its TrainingConfig)"""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


def _load(path: str) -> Any:
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


def read_run(path: str | Path, sets: list[str] | tuple[str, ...] = ()) -> TrainingRun:
    """Reads a training config with its `base:` files and `--set` values. Raises ConfigError."""
    run = build(TrainingRun, merge(read_with_base(path), parse_set(sets)), str(path))
    if run.model not in OBJECTIVES:
        raise ConfigError(f"{path}: unknown model {run.model!r}{near_miss(run.model, OBJECTIVES)}")
    return run


def make_trainer(run: TrainingRun, progress: Any = None) -> Trainer:
    """Features (computed if they are not there), model, objective and trainer of a run."""
    import torch

    from stages.data.features import build_features, load_features

    objective_class, network_class, training_class = (_load(p) for p in OBJECTIVES[run.model])
    corpus = load_features(build_features(run.manifest, run.audio, progress=progress))
    network = dict(run.network)
    if "audio" in {f for f in network_class.__dataclass_fields__}:
        network["audio"] = run.audio
    torch.manual_seed(run.trainer.seed)  # initial weights; everything later draws from the step's own generator
    objective = objective_class(
        build(network_class, network, f"{run.model}.network"),
        build(training_class, run.objective, f"{run.model}.objective"),
        corpus,
        run.trainer.seed,
    )
    return Trainer(objective, run.trainer, run.folder, run)


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 trained, 1 could not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="time box; run again to go on")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        trainer = make_trainer(read_run(options.config, options.set))
        asked: list[int] = []  # a polite kill ends the slice with its work saved
        signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
        trainer.run(minutes=options.minutes, stopped=lambda: bool(asked))
    except (ConfigError, TrainingError, ValueError) as error:
        print(f"caretta: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
