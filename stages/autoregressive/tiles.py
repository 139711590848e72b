"""How many rows a matrix product may have without a bit of any row changing: asked of the machine, not assumed."""

from __future__ import annotations

import torch
from torch import nn

from stages.autoregressive.model import AutoregressiveDecoder


@torch.inference_mode()
def safe_slots(model: AutoregressiveDecoder, slots: int, rows: int) -> tuple[int, ...]:
    """Numbers of slots that may be decoded as a smaller tile: those whose every product agrees with the full tile's.

    Libraries choose another kernel for another shape, and kernels round differently; many do agree, and then a single
    sentence need not pay for a full tile. Each shape of linear layer that decoding uses is tried on random numbers, at
    both ends of the tile. The full tile is always among them.

    Args:
        slots: of the full tile.
        rows: per slot.
    """
    layers = [*model.transformer.modules(), model.code_head, model.move_head]
    shapes = {m.weight.shape: m for m in layers if isinstance(m, nn.Linear)}
    return tuple(n for n in range(1, slots + 1) if all(_agrees(m, n * rows, slots * rows) for m in shapes.values()))


def _agrees(layer: nn.Linear, rows: int, all_rows: int) -> bool:
    x = torch.randn(all_rows, layer.in_features, generator=torch.Generator().manual_seed(rows)).to(layer.weight.device)
    whole = layer(x)
    return torch.equal(layer(x[:rows]), whole[:rows]) and torch.equal(layer(x[-rows:]), whole[-rows:])
