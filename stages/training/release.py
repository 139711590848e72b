"""Releases finished runs: `python -m stages.training.release configs/train/starter` fills artifacts/starter/<model>.

Weights are stored as float16, paths of the training machine are left out, and the tokenizer keeps the identity that
the models trained on its codes know it by. The hashes of the corpus's texts go along, so that an evaluation can prove
that it is unseen.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core import checkpoint
from stages.core.checkpoint import Checkpoint, CheckpointError
from stages.core.config import ConfigError
from stages.training.run import TrainingRun, read_run

MOST_DIFFERENT = 0.005
"""share of codes that rounding the tokenizer may change"""
SAMPLE = 200
"""utterances that are encoded twice to measure it"""
DEPENDENTS = ("autoregressive", "rerank", "diffusion")
LARGEST = 16_000_000
"""bytes of weights in a file: git hosts and their users dislike larger ones"""
TEXTS = "texts.sha256"
MACHINE = ("codes", "predicted", "threads", "device")
"""keys of a config that name the training machine's paths and parts"""


@dataclass(frozen=True)
class Release:
    """One model that is ready to go."""

    run: TrainingRun
    found: Checkpoint
    codebook: str | None
    """identity of the tokenizer that this model is, or whose codes it knows"""


def collect(configs: str | Path, unfinished: bool = False) -> list[Release]:
    """Finished runs of a folder of training configs (or of one config).

    Raises:
        ConfigError: nothing there, or a run that is not finished (unless `unfinished`).
        CheckpointError: no checkpoint, or a model that was trained on another tokenizer's codes than the one here.
    """
    path = Path(configs)
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not files:
        raise ConfigError(f"{path}: holds no .yaml file; name a folder of training configs")
    releases = [_ready(run, unfinished) for run in last_of_each([read_run(file) for file in files])]
    codebooks = {r.codebook: r.run.folder for r in releases if r.codebook is not None}
    if len(codebooks) > 1:
        raise CheckpointError(
            f"{' and '.join(codebooks.values())} belong to different tokenizers; train the dependents again"
        )
    return releases


def last_of_each(runs: list[TrainingRun]) -> list[TrainingRun]:
    """Of a run and one that fine-tunes what it gave, the latter; the former while the latter has not begun."""
    place = os.path.normpath
    known = {place(run.folder) for run in runs}
    tuning = [run for run in runs if run.init_from and place(Path(run.init_from).parent) in known]
    waiting = [run for run in tuning if not (Path(run.folder) / "checkpoint").is_dir()]
    for run in waiting:
        print(f"{run.folder}: has not begun; {Path(run.init_from).parent} is released as it is")
    left_out = {place(Path(run.init_from).parent) for run in tuning if run not in waiting}
    left_out |= {place(run.folder) for run in waiting}
    return [run for run in runs if place(run.folder) not in left_out]


def _ready(run: TrainingRun, unfinished: bool) -> Release:
    found = checkpoint.read(Path(run.folder) / "checkpoint", run.model)
    step = int(found.meta.get("step", 0))
    if step < run.trainer.steps and not unfinished:
        raise ConfigError(
            f"{run.folder}: is at step {step} of {run.trainer.steps}; train it to its end, or add --unfinished"
        )
    codebook = None
    if run.model == "codes":
        codebook = checkpoint.checkpoint_digest(found.folder)
    elif run.model in DEPENDENTS:
        codebook = str(found.meta.get("codebook"))
    return Release(run, found, codebook)


def released_meta(release: Release) -> dict[str, Any]:
    """The run's meta without the machine's paths, with the tokenizer's identity."""
    meta = dict(release.found.meta)
    experiment = dict(meta.get("experiment", {}))
    for key in ("folder", "manifest"):
        experiment.pop(key, None)
    for part in ("objective", "trainer"):
        experiment[part] = {k: v for k, v in experiment.get(part, {}).items() if k not in MACHINE}
    meta["experiment"] = experiment
    if release.codebook is not None:
        meta["codebook"] = release.codebook
    return meta


def different_codes(release: Release) -> float:
    """Share of codes of a sample of the corpus that float16 weights encode differently. Raises ConfigError."""
    import numpy as np
    import torch

    from stages.codes.model import CodesModelConfig, SpeechTokenizer
    from stages.data.features import build_features, load_features

    config = checkpoint.model_config(release.found, CodesModelConfig)
    corpus = load_features(build_features(release.run.manifest, config.audio))
    models = []
    for kind in (torch.float32, torch.float16):
        model = SpeechTokenizer(config)
        model.load_state_dict(
            {k: v.to(kind).float() if v.is_floating_point() else v for k, v in release.found.tensors.items()}
        )
        models.append(model.eval())
    wrong = total = 0
    with torch.inference_mode():
        for i in np.unique(np.linspace(0, len(corpus) - 1, SAMPLE).astype(int)):
            mel = torch.from_numpy(corpus.mel[corpus.frames_of(int(i))].astype(np.float32))[None]
            whole, rounded = (model.encode(mel) for model in models)
            wrong += int((whole != rounded).sum())
            total += whole.numel()
    return wrong / total


def write(releases: list[Release], out: str | Path, full: tuple[str, ...] = ()) -> dict[str, Path]:
    """Writes every release to `out`/<model>, float16 but for those in `full`, and the corpus's text hashes beside them.

    Raises:
        CheckpointError: rounding would change more than MOST_DIFFERENT of the tokenizer's codes.
    """
    out, written = Path(out), {}
    for release in releases:
        if release.run.model == "codes" and "codes" not in full:
            share = different_codes(release)
            print(f"codes: float16 changes {share:.3%} of the codes")
            if share > MOST_DIFFERENT:
                raise CheckpointError(
                    f"{release.found.folder}: float16 changes {share:.2%} of its codes, "
                    f"more than {MOST_DIFFERENT:.1%}; release it with --full codes"
                )
    for release in releases:
        name = release.run.model
        written[name] = out / name
        half = name not in full
        found = release.found
        checkpoint.write(out / name, found.tensors, found.config, released_meta(release), half=half, most=LARGEST)
    texts = Path(releases[0].run.manifest).parent / TEXTS
    if not texts.exists():
        raise ConfigError(f"{texts}: is not there; prepare the corpus again")
    shutil.copyfile(texts, out / TEXTS)
    return written


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 released, 1 could not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", help="folder of training configs, or one")
    parser.add_argument("--out", default="artifacts/starter")
    parser.add_argument("--full", action="append", default=[], metavar="MODEL", help="keep float32; repeatable")
    parser.add_argument("--unfinished", action="store_true", help="also release runs that have not reached their steps")
    options = parser.parse_args(arguments)
    try:
        written = write(collect(options.configs, options.unfinished), options.out, tuple(options.full))
    except (ValueError, OSError) as error:
        print(f"caretta: {error}", file=sys.stderr)
        return 1
    for name, folder in written.items():
        size = sum(p.stat().st_size for p in folder.iterdir()) / 1e6
        print(f"{name}: {folder}, {size:.2f} MB, step {checkpoint.read_meta(folder).get('step')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
