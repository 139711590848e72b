"""Training in several processes, one a device, as `torchrun` starts them.

A step's micro-batches (`trainer.accumulate`) are dealt out to the processes and their gradients summed, so a run does
not depend on how many share it. torch's DistributedDataParallel hooks into `forward` alone; objectives call what they
like of their model, so gradients are summed here, in buckets after the backward pass.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, nn

from stages.core.config import ConfigError

BUCKET = 32 * 1024 * 1024
"""gradients (128 MB) that travel at once"""
PATIENCE = timedelta(hours=1)
"""how long processes wait for the first one, which validates and computes features"""


@dataclass(frozen=True)
class World:
    """The processes of a run, and which of them this is; without torchrun there is one."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this process logs, validates and writes."""
        return self.rank == 0

    def share(self, micro_batches: int) -> range:
        """Which of a step's micro-batches this process computes.

        Raises:
            ConfigError: they cannot be dealt out evenly.
        """
        if micro_batches % self.size:
            fitting = -(-micro_batches // self.size) * self.size
            raise ConfigError(
                f"trainer.accumulate: {micro_batches} micro-batches a step cannot be dealt out evenly to {self.size} "
                f"processes; add --set trainer.accumulate={fitting}"
            )
        return range(self.rank, micro_batches, self.size)

    def sum(self, values: Tensor) -> Tensor:
        """The sum of `values` over all processes."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
        return values

    def any(self, fact: bool) -> bool:
        """Whether it is so in any process; the same answer in all."""
        return fact if self.size == 1 else bool(self.sum(torch.tensor(float(fact), device=self.device)) > 0)

    @torch.no_grad()
    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sums gradients over all processes; a parameter that had one nowhere keeps None."""
        if self.size == 1:
            return
        for bucket in _buckets(list(parameters)):
            had = torch.tensor([p.grad is not None for p in bucket], dtype=torch.float32, device=bucket[0].device)
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            flat = self.sum(torch.cat([had, *(g.flatten() for g in grads)]))
            counts, *sums = flat.split([len(bucket), *(p.numel() for p in bucket)])
            for p, count, total in zip(bucket, counts.tolist(), sums, strict=True):
                p.grad = total.view_as(p).clone() if count else None

    @torch.no_grad()
    def same_everywhere(self, tensors: Iterable[Tensor]) -> None:
        """Gives every process the first one's values."""
        if self.size > 1:
            for tensor in tensors:
                torch.distributed.broadcast(tensor, 0)

    def wait(self) -> None:
        """Returns when all processes are here."""
        if self.size > 1:
            torch.distributed.barrier()

    @contextlib.contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """The first process runs the block alone, then the others do: what it wrote to disk they find done."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()


def join(device: str = "auto") -> World:
    """This process's place among those that torchrun started (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT).

    Args:
        device: `cpu`, `cuda`, or `auto`: a GPU where there is one. Several processes take a GPU each.

    Raises:
        ConfigError: the variables do not hang together, or the processes do not find each other.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        rank, size, local = (int(os.environ.get(k, d)) for k, d in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)))
    except ValueError as error:
        raise ConfigError(f"RANK, WORLD_SIZE and LOCAL_RANK must be numbers ({error}); start it by torchrun") from None
    if size < 2:
        return World(device=device)
    if device == "cuda":
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    if not torch.distributed.is_initialized():
        backend = "nccl" if device.startswith("cuda") else "gloo"
        try:
            torch.distributed.init_process_group(backend, timeout=PATIENCE)
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"the {size} processes do not find each other ({reason}); start them by torchrun"
            ) from None
        atexit.register(torch.distributed.destroy_process_group)
    return World(rank, size, device)


def _buckets(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    held = 0
    for parameter in parameters:
        if bucket and held + parameter.numel() > BUCKET:
            yield bucket
            bucket, held = [], 0
        bucket.append(parameter)
        held += parameter.numel()
    if bucket:
        yield bucket
