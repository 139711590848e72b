"""Memory for time and time for memory: activations computed twice, blocks compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

BLOCKS = ("blocks", "resblocks", "layers", "couplings")
"""what the models here, and open_clip's, call the list of their repeated blocks"""


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The repeated blocks of a model: where its activations and its time are. Those within a block are its own."""
    out: list[nn.Module] = []
    taken: tuple[str, ...] = ()
    for name, found in model.named_modules():
        if isinstance(found, nn.ModuleList) and name.rsplit(".", 1)[-1] in BLOCKS and not name.startswith(taken):
            taken += (f"{name}.",)
            out += _flat(found)
    return out


def _flat(found: nn.Module) -> list[nn.Module]:
    """The modules of a list, and of lists in it (HiFi-GAN's blocks by rate)."""
    return [block for part in found for block in _flat(part)] if isinstance(found, nn.ModuleList) else [found]


def recompute_activations(model: nn.Module) -> int:
    """Keeps no activations within a block while training: the backward pass computes them again (Chen et al. 2016).

    Losses and gradients stay the same to the last bit. Returns how many blocks do so.
    """
    blocks = blocks_of(model)
    for block in blocks:
        block.forward = _recomputed(block, block.forward)  # type: ignore[method-assign]
    return len(blocks)


def compile_blocks(model: nn.Module) -> int:
    """Compiles each block on its own ("regional compilation"), for all lengths at once; names of weights stay.

    Returns how many were.
    """
    blocks = blocks_of(model)
    for block in blocks:
        block.compile(dynamic=True)
    return len(blocks)


def _recomputed(block: nn.Module, plain: Callable[..., Any]) -> Callable[..., Any]:
    def forward(*arguments: Any, **named: Any) -> Any:
        if block.training and torch.is_grad_enabled():
            return checkpoint(plain, *arguments, use_reentrant=False, **named)
        return plain(*arguments, **named)

    return forward
