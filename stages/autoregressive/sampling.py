"""From logits to a draw, row by row: temperature, top-k, nucleus, repetition penalty. No row sees another."""

from __future__ import annotations

import torch
from torch import Tensor

LIKELIEST = 64
"""A nucleus is looked for among this many codes first; sorting all of them costs twenty times as much."""


def filter_logits(logits: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """Logits (K, C) -> probabilities after temperature, top-k and nucleus (Holtzman et al. 2020) filtering.

    Codes exactly as likely as the last one let in are let in too.
    """
    logits = logits / temperature
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    probabilities = logits.softmax(-1)
    if top_p < 1:
        probabilities = probabilities.masked_fill(probabilities < nucleus_floor(probabilities, top_p), 0.0)
    return probabilities


def nucleus_floor(probabilities: Tensor, top_p: float) -> Tensor:
    """The least probability (K, 1) in the smallest set of codes that holds `top_p` of each row of (K, C)."""
    floor, found = _floor_among(LIKELIEST, probabilities, top_p)
    if not bool(found.all()):
        floor = torch.where(found, floor, _floor_among(probabilities.shape[-1], probabilities, top_p)[0])
    return floor


def _floor_among(likeliest: int, probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """`nucleus_floor` if the set is among the likeliest codes, and whether it is, both (K, 1)."""
    ordered = probabilities.topk(min(likeliest, probabilities.shape[-1]), dim=-1).values
    mass = ordered.cumsum(-1)
    inside = (mass - ordered < top_p).sum(-1, keepdim=True)  # the first code always is
    return ordered.gather(-1, inside - 1), mass[:, -1:] >= top_p


def draw(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Inverse-transform sampling: unnormalised probabilities (K, C), uniform (K,) in [0, 1) -> indices (K,)."""
    total = probabilities.cumsum(-1)
    return (
        torch.searchsorted(total, uniform.unsqueeze(-1) * total[:, -1:], right=True)
        .squeeze(-1)
        .clamp_max(probabilities.shape[-1] - 1)
    )


def penalise(logits: Tensor, recent: Tensor, penalty: float) -> Tensor:
    """Repetition penalty (Keskar et al. 2019) on the logits (K, C) of the codes in `recent` (K, W); C = no code.

    Positive ones are divided by it, negative ones multiplied.
    """
    said = torch.zeros(len(logits), logits.shape[-1] + 1, dtype=torch.bool, device=logits.device)
    said = said.scatter(-1, recent, True)[:, :-1]
    return torch.where(said, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
