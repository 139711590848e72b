"""Checkpoint folders that describe themselves: model.safetensors + config.yaml + meta.json; no pickle, strict loading.

Weights may lie in numbered parts instead (`model-00001-of-00002.safetensors`…), for those who limit the size of files.

`config.yaml` holds the model's hyper-parameters (what its `ModelConfig` dataclass is built from); `meta.json` says what
the weights are: stage, AudioSpec digest, symbol digest, step, data digest, licence, metrics, and what the stage needs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from stages.core.config import build, read_yaml, to_plain
from stages.core.fingerprint import digest, file_digest

if TYPE_CHECKING:
    import torch

C = TypeVar("C")
ROOT = Path(__file__).resolve().parents[2]
WEIGHTS, CONFIG, META = "model.safetensors", "config.yaml", "meta.json"
PART = re.compile(r"model-\d{5}-of-(\d{5})\.safetensors")
"""a file of weights in several files, named as transformers does"""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the folder and the mend."""


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds; tensors are float32 whatever precision they were stored in."""

    folder: Path
    config: dict[str, Any]
    meta: dict[str, Any]
    tensors: dict[str, torch.Tensor]


def locate(path: str | Path) -> Path:
    """A path as given, or under the repository root (home of `artifacts/starter`) when it is relative and not here."""
    path = Path(path)
    return path if path.is_absolute() or path.exists() else ROOT / path


def write(
    folder: str | Path,
    tensors: dict[str, torch.Tensor],
    config: Any,
    meta: dict[str, Any],
    half: bool = False,
    most: int | None = None,
) -> None:
    """Writes a checkpoint so that a crash or a full disk at any moment leaves the previous one whole.

    Args:
        half: store floating-point weights as float16 (release size); loading gives float32 again.
        most: bytes of weights in a file, unless one tensor alone has more; None = all in one file.
    """
    import torch
    from safetensors.torch import save_file

    folder = Path(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    kind = torch.float16 if half else torch.float32
    stored = {
        k: (v.detach().to(kind) if v.is_floating_point() else v.detach()).cpu().contiguous().clone()
        for k, v in tensors.items()
    }
    parts = _parts(stored, most)
    for part, name in zip(parts, _names(len(parts)), strict=True):
        save_file(part, partial / name)
    (partial / CONFIG).write_text(yaml.safe_dump(to_plain(config), sort_keys=False), encoding="utf-8")
    (partial / META).write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    replace_folder(partial, folder)


def weight_files(folder: Path) -> list[Path]:
    """The files of a checkpoint's weights: one, or all the numbered parts that there should be."""
    found = [match for path in folder.glob("model-*.safetensors") if (match := PART.fullmatch(path.name))]
    if (folder / WEIGHTS).exists() or not found:
        return [folder / WEIGHTS]
    return [folder / name for name in _names(max(int(match[1]) for match in found))]


def _names(count: int) -> list[str]:
    return [WEIGHTS] if count == 1 else [f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(1, count + 1)]


def _parts(tensors: dict[str, torch.Tensor], most: int | None) -> list[dict[str, torch.Tensor]]:
    """The tensors in their order, cut into parts of at most so many bytes."""
    parts: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        own = tensor.numel() * tensor.element_size()
        if most is not None and parts[-1] and size + own > most:
            parts.append({})
            size = 0
        parts[-1][name] = tensor
        size += own
    return parts


def replace_folder(partial: Path, folder: Path) -> None:
    """Puts a finished folder in the place of an older one; the older one stays readable until the rename."""
    for path in partial.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.rename(folder, old)
    os.rename(partial, folder)
    shutil.rmtree(old, ignore_errors=True)


def recover(folder: Path) -> None:
    """Puts the older folder back when a crash fell between the two renames of `replace_folder`."""
    old = folder.with_name(f".{folder.name}.old")
    if not folder.exists() and old.exists():
        os.rename(old, folder)


def read_meta(folder: str | Path) -> dict[str, Any]:
    """meta.json alone. Raises CheckpointError when the folder or the file is not there or not JSON."""
    folder = locate(folder)
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder}: no checkpoint there (no {META}); train it or name another with --set stage.checkpoint=…"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{folder / META}: cannot be read ({error}); restore the checkpoint") from None
    if not isinstance(meta, dict):
        raise CheckpointError(f"{folder / META}: must hold a JSON object; restore the checkpoint")
    return meta


def read(folder: str | Path, stage: str = "") -> Checkpoint:
    """Reads a checkpoint folder, of `stage` when that is given.

    Raises:
        CheckpointError: a missing, truncated or damaged part (the file is named), or a checkpoint of another stage.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = locate(folder)
    meta = read_meta(folder)
    if stage and meta.get("stage") != stage:
        raise CheckpointError(
            f"{folder}: is a checkpoint of {meta.get('stage')!r}, not of {stage!r}; name one of {stage!r}"
        )
    tensors: dict[str, torch.Tensor] = {}
    for file in weight_files(folder):
        try:
            tensors |= load_file(file)
        except (OSError, SafetensorError, ValueError) as error:
            raise CheckpointError(f"{file}: cannot be read ({error}); restore the checkpoint") from None
    tensors = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    return Checkpoint(folder, read_yaml(folder / CONFIG), meta, tensors)


def model_config(checkpoint: Checkpoint, cls: type[C]) -> C:
    """The model's hyper-parameters as its dataclass; strict."""
    return build(cls, checkpoint.config, str(checkpoint.folder / CONFIG))


def load_strict(model: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Puts the weights into `model`. Raises CheckpointError for names or sizes that differ."""
    try:
        model.load_state_dict(checkpoint.tensors, strict=True)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{checkpoint.folder}: weights do not fit its {CONFIG} ({first}); restore the checkpoint"
        ) from None


def checkpoint_digest(folder: str | Path) -> str:
    """sha256 that identifies weights and hyper-parameters, read without building the model."""
    folder = locate(folder)
    read_meta(folder)
    try:
        return digest([file_digest(file) for file in (*weight_files(folder), folder / CONFIG)])
    except OSError as error:
        raise CheckpointError(f"{folder}: incomplete checkpoint ({error}); restore it") from None


def require(checkpoint: Checkpoint, field: str, value: str, otherwise: str) -> None:
    """Raises CheckpointError saying `otherwise` when a meta field differs from what this code needs."""
    if checkpoint.meta.get(field) != value:
        raise CheckpointError(f"{checkpoint.folder}: {otherwise}; train it again or name another checkpoint")
