"""The state from which a run goes on: tensors in `resume/state.safetensors`, the rest in `resume/state.json`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.core import checkpoint
from stages.core.config import ConfigError
from stages.core.fingerprint import digest

FOLDER, TENSORS, FACTS = "resume", "state.safetensors", "state.json"
FREE = (
    "steps", "threads", "device", "log_every", "validate_every", "save_minutes", "decay_share", "lr_floor",
    "prefetch", "compile", "gradient_checkpointing", "tensorboard", "samples",
)  # fmt: skip
"""Keys of `trainer:` that may change from one run to the next: its length, its machine, and what it tells."""
ADDED = {"schedule": "cosine"}
"""Keys of `trainer:` that older states do not know, with what they did."""
RUN = ("model", "folder", "manifest", "audio", "network", "objective", "trainer")
"""Keys of a run that every state knows; another one counts when it says something."""


def identity(experiment: dict[str, Any]) -> str:
    """What may not change between two runs in one folder: the experiment without its length and machine."""
    trainer = {
        k: v for k, v in experiment.get("trainer", {}).items() if k not in FREE and not (k in ADDED and v == ADDED[k])
    }
    said = {k: v for k, v in experiment.items() if k in RUN or v}
    return digest({**said, "trainer": trainer})


def write(folder: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Writes a state in the place of the older one, which stays whole until then. Raises OSError, SafetensorError."""
    place, partial = folder / FOLDER, folder / f".{FOLDER}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, partial / TENSORS)
    (partial / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    checkpoint.replace_folder(partial, place)


def read(
    folder: Path, experiment: dict[str, Any], codebook: str | None, device: str
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest whole state, or None when there is none yet.

    Raises:
        ConfigError: a state of another config or on another tokenizer's codes, or one that is damaged.
    """
    place = folder / FOLDER
    checkpoint.recover(place)
    if not place.exists():
        return None
    try:
        facts = json.loads((place / FACTS).read_text(encoding="utf-8"))
        known, trained_on = facts["experiment"], facts.get("codebook")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(_damaged(place / FACTS, error)) from None
    otherwise = "name another folder with --set folder=…, or delete this one"
    if known != identity(experiment):
        raise ConfigError(f"{place}: was trained with another config; {otherwise}")
    if trained_on and codebook and trained_on != codebook:  # runs of before this was kept do not say
        raise ConfigError(f"{place}: was trained on the codes of another tokenizer; {otherwise}")
    try:
        return load_file(place / TENSORS, device=device), facts
    except (OSError, SafetensorError, ValueError) as error:
        raise ConfigError(_damaged(place / TENSORS, error)) from None


def _damaged(path: Path, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"{path}: is damaged ({reason}); restore it, or delete {path.parent} to train from the start"


def discard_partial(folder: Path) -> None:
    """Removes what a failed save has written, which gives its space back."""
    for name in (FOLDER, "checkpoint"):
        shutil.rmtree(folder / f".{name}.partial", ignore_errors=True)


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors named `prefix.…`, by the rest of their names."""
    return {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(prefix + ".")}


def flatten_optimizer(prefix: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's moments as named tensors (safetensors holds no nested objects)."""
    return {
        f"{prefix}.{i}.{k}": torch.as_tensor(v)
        for i, s in optimizer.state_dict()["state"].items()
        for k, v in s.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of flatten_optimizer."""
    whole = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    whole["state"] = state
    optimizer.load_state_dict(whole)
