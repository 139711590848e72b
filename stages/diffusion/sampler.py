"""Samplers: from noise to data with few evaluations of the velocity. One function and one line in SAMPLERS each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stages.diffusion.schedule import time_grid

Velocity = Callable[[Tensor, float], Tensor]
"""(x (B, T, M), sigma) -> velocity (B, T, M)"""


def euler(velocity: Velocity, noise: Tensor, steps: int) -> Tensor:
    """First-order; `steps` evaluations."""
    grid, x = time_grid(steps).tolist(), noise
    for now, after in zip(grid, grid[1:], strict=False):
        x = x + (after - now) * velocity(x, now)
    return x


def midpoint(velocity: Velocity, noise: Tensor, steps: int) -> Tensor:
    """Second-order; `steps` evaluations (an odd one left over is a first Euler step)."""
    x = noise
    grid = time_grid(steps // 2 + steps % 2).tolist()
    for i, (now, after) in enumerate(zip(grid, grid[1:], strict=False)):
        if i == 0 and steps % 2:
            x = x + (after - now) * velocity(x, now)
            continue
        half = x + (after - now) / 2 * velocity(x, now)
        x = x + (after - now) * velocity(half, (now + after) / 2)
    return x


def unipc(velocity: Velocity, noise: Tensor, steps: int) -> Tensor:
    """diffusers' UniPC multistep solver (Zhao et al. 2023) on flow sigmas; `steps` evaluations."""
    from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0, solver_order=2
    )
    scheduler.set_timesteps(steps)
    x = noise
    for i, timestep in enumerate(scheduler.timesteps):
        x = scheduler.step(velocity(x, float(scheduler.sigmas[i])), timestep, x, return_dict=False)[0]
    return x


SAMPLERS: dict[str, Callable[[Velocity, Tensor, int], Tensor]] = {"euler": euler, "midpoint": midpoint, "unipc": unipc}


def guided(
    network: Callable[..., Tensor], guidance: float, condition: Tensor, voice: Tensor, nothing: Tensor
) -> Velocity:
    """The velocity under classifier-free guidance (Ho & Salimans 2022): both branches in one batched call.

    Args:
        network: (x, sigma (B,), condition, voice) -> velocity.
        guidance: 1 = conditional only (a single branch).
        nothing: the condition of the unconditional branch, like `condition`.
    """
    if guidance == 1.0:
        return lambda x, sigma: network(x, torch.full((x.shape[0],), sigma), condition, voice)
    both, voices = torch.cat((condition, nothing)), torch.cat((voice, voice))

    def velocity(x: Tensor, sigma: float) -> Tensor:
        conditional, free = network(torch.cat((x, x)), torch.full((2 * x.shape[0],), sigma), both, voices).chunk(2)
        return free + guidance * (conditional - free)

    return velocity
