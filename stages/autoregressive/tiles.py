"""How many rows a matrix product may have without a bit of any row changing: asked of the machine, not assumed."""

from __future__ import annotations

import torch
from torch import nn

from stages.autoregressive.model import AutoregressiveDecoder


@torch.inference_mode()
def safe_slots(model: AutoregressiveDecoder, slots: int, most: int, rows: int) -> tuple[int, ...]:
    """Numbers of slots that a tile may have: those whose every product agrees with that of a tile of `slots`.

    Libraries choose another kernel for another shape, and kernels round differently; many do agree, and then a single
    sentence need not pay for a whole tile, and many may share a larger one. Each shape of linear layer that decoding
    uses is tried on random numbers, at both ends of the tile. `slots` itself is always among them.

    Args:
        most: slots of the largest tile that is of use.
        rows: per slot.
    """
    layers = [*model.transformer.modules(), model.code_head, model.move_head]
    shapes = {m.weight.shape: m for m in layers if isinstance(m, nn.Linear)}
    return tuple(n for n in range(1, most + 1) if all(_agree(m, n * rows, slots * rows) for m in shapes.values()))


def _agree(layer: nn.Linear, rows: int, other: int) -> bool:
    """Whether rows come out the same in products of so many rows and of so many others."""
    fewer, more = sorted((rows, other))
    x = torch.randn(more, layer.in_features, generator=torch.Generator().manual_seed(rows)).to(layer.weight.device)
    whole = layer(x)
    return torch.equal(layer(x[:fewer]), whole[:fewer]) and torch.equal(layer(x[-fewer:]), whole[-fewer:])
