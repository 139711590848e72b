"""One seed per item: every random draw is from a generator seeded by hash(run seed, stage, item content, candidate)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.core.fingerprint import digest

if TYPE_CHECKING:
    import torch


def item_seed(run_seed: int, stage: str, item: str, candidate: int = 0) -> int:
    """A 63-bit seed that depends on the item and never on its place in a batch, a shard or a run."""
    return int(digest([run_seed, stage, item, candidate])[:16], 16) >> 1


def generator(seed: int) -> torch.Generator:
    """A CPU generator: draws are made on the CPU and moved, so that every device sees the same noise."""
    import torch

    return torch.Generator(device="cpu").manual_seed(seed)
