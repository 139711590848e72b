"""Which frames belong to which phone: monotonic alignment search (Kim et al. 2020, Glow-TTS, algorithm 1; VITS, eq. 8).

The most likely path through the likelihoods of every frame under every phone's prior that goes forward only and gives
each phone a frame at least. The search has no gradient: it runs on the CPU, a loop over frames alone.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def log_likelihoods(z: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """ln N(z_t; mean_p, std_p), summed over channels, of every frame t under every phone's prior p.

    Args:
        z: (B, C, T) latents.
        mean, log_std: (B, C, P) of the priors.

    Returns:
        (B, T, P) nats, in single precision whatever the autocast.
    """
    with torch.autocast(z.device.type, enabled=False):
        z, mean, log_std = z.float(), mean.float(), log_std.float()
        precision = torch.exp(-2 * log_std)
        of_phone = (-0.5 * math.log(2 * math.pi) - log_std - 0.5 * mean.square() * precision).sum(1, keepdim=True)
        frames = torch.cat((-0.5 * z.square(), z), dim=1)  # one product: -z²/2 · 1/σ² + z · μ/σ²
        phones = torch.cat((precision, mean * precision), dim=1)
        return of_phone + frames.transpose(1, 2) @ phones


def maximum_path(value: Tensor, mask: Tensor) -> Tensor:
    """The monotonic path of the greatest sum, from the first frame and phone to the last ones.

    A path stays at its phone or goes on to the next one with every frame; of equal ways the one that stays longer with
    the later phone is taken.

    Args:
        value: (B, T, P).
        mask: (B, T, P), 1 where both frame and phone are there; they are at the beginning.

    Returns:
        (B, T, P) of 0 and 1 as float on value's device: one phone a frame, every phone one frame at least.

    Raises:
        ValueError: an item has more phones than frames, or none.
    """
    there = mask.detach() > 0
    frames, phones = there.any(2).sum(1).cpu().numpy(), there.any(1).sum(1).cpu().numpy()
    _refuse_impossible(frames, phones)
    steps = np.ascontiguousarray(value.detach().float().cpu().numpy().transpose(1, 0, 2))
    at = _backtrack(_moves(steps), frames, phones)
    path = torch.from_numpy(at).t().unsqueeze(2).to(value.device) == torch.arange(value.shape[2], device=value.device)
    return (path & there).float()


def _refuse_impossible(frames: np.ndarray, phones: np.ndarray) -> None:
    wrong = np.flatnonzero((frames < phones) | (phones < 1))
    if len(wrong):
        i = int(wrong[0])
        raise ValueError(
            f"item {i} of the batch has {phones[i]} symbols and {frames[i]} frames, and every symbol needs a frame of "
            "its own; leave the utterance out, check its text, or train without blanks or with a smaller audio.hop"
        )


def _moves(value: np.ndarray) -> np.ndarray:
    """(T, B, P) -> (T, B, P) bool: whether the best path to this place came from the phone before."""
    frames, batch, phones = value.shape
    moves = np.empty(value.shape, bool)
    best = np.full((batch, phones + 1), -np.inf, np.float32)
    best[:, 0] = 0.0  # the place before the first phone, where every path begins
    came, stayed, better = best[:, :-1], best[:, 1:], np.empty((batch, phones), np.float32)
    for t in range(frames):
        np.greater(came, stayed, out=moves[t])
        np.maximum(came, stayed, out=better)
        np.add(better, value[t], out=stayed)
        best[:, 0] = -np.inf
    corner = np.arange(min(frames, phones))
    moves[corner, :, corner] = True  # phone t at frame t has no other way, not even among values that are no numbers
    return moves


def _backtrack(moves: np.ndarray, frames: np.ndarray, phones: np.ndarray) -> np.ndarray:
    """(T, B) the phone of every frame; frames past an item's own belong to its last phone."""
    rows, at = np.arange(len(phones)), phones - 1
    out = np.empty(moves.shape[:2], np.int64)
    for t in range(len(moves) - 1, -1, -1):
        out[t] = at
        at = at - (moves[t, rows, at] & (t < frames) & (at > 0))
    return out


@torch.no_grad()
def search(
    z: Tensor,
    mean: Tensor,
    log_std: Tensor,
    frame_mask: Tensor,
    phone_mask: Tensor,
    noise_scale: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The path of `maximum_path` through `log_likelihoods`; with noise as VITS2 has it (Kong et al. 2023, section 2.2).

    The noise has `noise_scale` times the standard deviation of the item's own likelihoods.

    Args:
        z: (B, C, T).
        mean, log_std: (B, C, P).
        frame_mask, phone_mask: (B, 1, T), (B, 1, P).
        noise_scale: 0 = no noise; `generator` (CPU) is then not asked.

    Returns:
        (B, T, P) of 0 and 1.

    Raises:
        ValueError: an item has more phones than frames.
    """
    value = log_likelihoods(z, mean, log_std)
    mask = frame_mask.transpose(1, 2) * phone_mask
    if noise_scale:
        noise = torch.randn(value.shape, generator=generator).to(value.device)
        value = value + noise_scale * _deviation(value, mask) * noise
    return maximum_path(value, mask)


def _deviation(value: Tensor, mask: Tensor) -> Tensor:
    """(B, 1, 1) standard deviation over the places of each item's mask."""
    count = mask.sum((1, 2), keepdim=True).clamp_min(1)
    centred = (value - (value * mask).sum((1, 2), keepdim=True) / count) * mask
    return (centred.square().sum((1, 2), keepdim=True) / count).sqrt()
