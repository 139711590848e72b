"""Trains one model from a YAML file, in plain Python.

`python -m stages.training.run configs/train/starter/codes.yaml --minutes 9`

Needs torch and this repository only (no Prefect), so it also runs on a bare GPU machine, in slices that resume.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stages.core import checkpoint
from stages.core.audio import AudioSpec
from stages.core.config import ConfigError, build, merge, near_miss, parse_set, read_with_base, to_plain
from stages.data.features import Corpus, build_features, load_features
from stages.data.statistics import FILLED, fill, statistics
from stages.training.initial import initialise
from stages.training.memory import look_ahead, told_after
from stages.training.trainer import Trainer, TrainerConfig, TrainingError

log = logging.getLogger(__name__)
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
    "vits": (
        "stages.vits.objective:VitsObjective",
        "stages.vits.model:VitsModelConfig",
        "stages.vits.training:VitsTrainingConfig",
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
    init_from: str = ""
    """checkpoint folder of the same model to start from, matched by name; "" = from fresh weights"""
    evaluate: str = ""
    """evaluation config that `caretta train` runs on the new checkpoints when all it was given are trained"""


def _load(path: str) -> Any:
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


def read_run(path: str | Path, sets: list[str] | tuple[str, ...] = ()) -> TrainingRun:
    """Reads a training config with its `base:` files and `--set` values. Raises ConfigError."""
    run = build(TrainingRun, merge(read_with_base(path), parse_set(sets)), str(path))
    if run.model not in OBJECTIVES:
        raise ConfigError(f"{path}: unknown model {run.model!r}{near_miss(run.model, OBJECTIVES)}")
    return run


def make_trainer(run: TrainingRun, progress: Any = None, tell: Callable[[str], None] = log.info) -> Trainer:
    """Features (computed if they are not there), model, objective and trainer of a run.

    Args:
        tell: gets the report of what `init_from` carried over, when the run begins, and the memory that it will take.

    Raises:
        ConfigError, CheckpointError: a config that does not fit, a checkpoint that `init_from` cannot start from, or a
            GPU that is too small.
    """
    import torch

    from stages.training.distributed import join

    objective_class, training_class = (_load(OBJECTIVES[run.model][i]) for i in (0, 2))
    world = join(run.trainer.device)
    with world.first_goes_ahead():  # features and codes are computed once
        corpus = load_features(build_features(run.manifest, run.audio, progress=progress))
        torch.manual_seed(run.trainer.seed)  # initial weights; everything later draws from the step's own generator
        objective = objective_class(
            network_config(run, corpus),
            build(training_class, run.objective, f"{run.model}.objective"),
            corpus,
            run.trainer.seed,
        )
    run = replace(run, evaluate="")  # no part of what is learnt
    if run.init_from:
        if not begun(run.folder):
            tell(initialise(objective, run.init_from).text())
        run = replace(run, init_from=source_digest(run.init_from))  # which weights, wherever they lie
    look_ahead(objective, run.trainer, world.device, tell if world.first else log.debug)
    return Trainer(objective, run.trainer, run.folder, run, world)


def network_config(run: TrainingRun, corpus: Corpus | None = None) -> Any:
    """The model's hyper-parameters (its ModelConfig), with the run's AudioSpec where it has one. Raises ConfigError.

    Args:
        corpus: what it decides (speakers, symbols, pitch statistics) is filled in where the run does not say.
    """
    network_class, network = _load(OBJECTIVES[run.model][1]), dict(run.network)
    if "audio" in network_class.__dataclass_fields__:
        network["audio"] = run.audio
    if corpus is not None and set(FILLED) & set(network_class.__dataclass_fields__) - set(network):
        network = fill(network, network_class.__dataclass_fields__, statistics(corpus))
    return build(network_class, network, f"{run.model}.network")


def objective_values(run: TrainingRun) -> dict[str, Any]:
    """The `objective:` part with its defaults. Raises ConfigError."""
    values: dict[str, Any] = to_plain(build(_load(OBJECTIVES[run.model][2]), run.objective, f"{run.model}.objective"))
    return values


def training_version(model: str) -> int:
    """The `version` of a model's objective: raise it there when the same config should train something else."""
    return int(getattr(_load(OBJECTIVES[model][0]), "version", 1))


def begun(folder: str | Path) -> bool:
    """Whether a run's folder holds a state to go on from."""
    return any((Path(folder) / name).is_dir() for name in ("resume", ".resume.old"))


def source_digest(init_from: str) -> str:
    """The digest of the checkpoint that a run starts from. Raises ConfigError when there is none."""
    try:
        return checkpoint.checkpoint_digest(init_from)
    except checkpoint.CheckpointError:
        raise ConfigError(
            f"init_from {init_from}: no whole checkpoint there; name a folder with model.safetensors"
        ) from None


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 trained, 1 could not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="time box; run again to go on")
    parser.add_argument("--init-from", metavar="CHECKPOINT", help="start from these weights, matched by name")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        sets = options.set + ([f"init_from={json.dumps(options.init_from)}"] if options.init_from else [])
        trainer = make_trainer(read_run(options.config, sets))
        asked: list[int] = []  # a polite kill ends the slice with its work saved
        signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
        progress = told_after(trainer.device, log.info)
        trainer.run(minutes=options.minutes, progress=progress, stopped=lambda: bool(asked))
    except (ConfigError, TrainingError, ValueError) as error:
        print(f"caretta: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
