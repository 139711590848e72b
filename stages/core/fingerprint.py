"""Content keys: sha256 over canonical JSON, computed without loading weights or importing torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces and exact floats. Raises ValueError for NaN or infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """sha256 (hex) of the canonical JSON of a plain value."""
    return hashlib.sha256(canonical(value).encode("ascii")).hexdigest()


def file_digest(path: str | Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def item_key(
    *, stage: str, version: int, config: Any, checkpoint: str, inputs: list[str], seed: int, dtype: str
) -> str:
    """The key of one item of one stage: everything that can change its bytes, and nothing else."""
    return digest(
        {
            "stage": stage,
            "version": version,
            "config": config,
            "checkpoint": checkpoint,
            "inputs": inputs,
            "seed": seed,
            "dtype": dtype,
        }
    )
