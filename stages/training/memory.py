"""How much memory a training needs, told before it starts, and what it took, told after some steps.

Weights, gradients, AdamW's moments and the average are counted; activations are measured: the tensors that autograd
keeps of a few items of a batch, times the batch. The device's allocator and libraries come on top.
"""

from __future__ import annotations

import copy
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from stages.core.config import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.training.config import TrainerConfig
    from stages.training.objective import Judged, Objective

GIB = 1024**3
ITEMS = 2
"""items of which activations are measured"""
SLACK = 1.15
"""what the allocator keeps beyond the tensors (fragments, workspaces), as a factor"""
CONTEXT = 0.6
"""GiB that CUDA and its libraries take by themselves"""
AFTER = 20
"""steps until the measured value is told"""


@dataclass(frozen=True)
class Memory:
    """Bytes, by what needs them."""

    parameters: int
    """numbers of the model that are trained or stored"""
    weights: int
    gradients: int
    optimizer: int
    """AdamW's two moments, and the temporary of its step"""
    average: int
    adversary: int
    """discriminators: weights, gradients, moments and activations"""
    activations: int
    """of the largest micro-batch that was looked at"""

    @property
    def total(self) -> float:
        """GiB on the device."""
        parts = self.weights + self.gradients + self.optimizer + self.average + self.adversary + self.activations
        return parts * SLACK / GIB

    def text(self) -> str:
        """One line."""
        named = ("weights", "gradients", "optimizer", "average", "adversary", "activations")
        parts = ", ".join(f"{name} {getattr(self, name) / GIB:.2f}" for name in named if getattr(self, name))
        return (
            f"memory: about {self.total:.2f} GiB for {self.parameters / 1e6:.2f} M parameters ({parts}, and {SLACK:g}x)"
        )


def estimate(objective: Objective, config: TrainerConfig) -> Memory:
    """What training `objective` will take; runs a few items forward on the CPU and changes nothing."""
    model, adversary = objective.model, objective.adversary()
    trained = _bytes(p for p in model.parameters() if p.requires_grad)
    stored = _bytes(model.state_dict().values())
    kept = activations(objective, config.gradient_checkpointing)
    half = config.precision != "float32"
    judged = 0
    if adversary is not None:
        judged = 5 * _bytes(adversary.parameters()) + _judged(objective, adversary.discriminators)
    return Memory(
        parameters=sum(p.numel() for p in model.parameters()),
        weights=stored + (stored // 2 if half else 0),  # autocast keeps half-precision copies
        gradients=trained,
        optimizer=3 * trained,
        average=stored,
        adversary=judged,
        activations=kept // 2 if half else kept,
    )


def _bytes(tensors: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def activations(objective: Objective, recomputed: bool = False) -> int:
    """Bytes that autograd keeps of a micro-batch: measured on ITEMS items, in proportion for the rest.

    It is the one that the objective calls the `heaviest`, or else the first.

    Args:
        recomputed: blocks keep their inputs only, but for one block at a time (gradient checkpointing).
    """
    import torch

    batch = objective.batch(getattr(objective, "heaviest", lambda: 0)())
    count = max(len(v) for v in batch.values() if isinstance(v, torch.Tensor) and v.ndim)
    size = len(batch.get("ids", ())) or count
    few = {k: _cut(v, size) for k, v in batch.items()}
    counter = _Kept(objective.model)
    was = objective.model.training
    objective.model.train()
    try:
        with torch.random.fork_rng(devices=[]), counter:
            # -1: before any adversary, which would learn from this
            losses = objective.losses(few, torch.Generator().manual_seed(0), -1)
            torch.stack([v for k, v in losses.items() if not k.startswith("_")]).sum()
    finally:
        objective.model.train(was)
    return int(counter.total(recomputed) * max(1.0, size / ITEMS))


def _cut(value: Any, size: int) -> Any:
    """The part of a batch's entry that belongs to its first ITEMS items."""
    import torch

    if isinstance(value, torch.Tensor) and value.ndim:
        return value[: max(1, len(value) * min(ITEMS, size) // size)]
    return value[:ITEMS] if isinstance(value, (list, tuple)) else value


class _Kept:
    """Counts the storages that autograd saves while this lasts, apart those within repeated blocks."""

    def __init__(self, model: nn.Module) -> None:
        from stages.training.economy import blocks_of

        self.blocks = blocks_of(model)
        self.own = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self.outside: dict[int, int] = {}
        self.within: list[dict[int, int]] = []
        self.inputs = 0
        self.depth = 0
        self.hooks: list[Any] = []

    def __enter__(self) -> _Kept:
        import torch

        for block in self.blocks:
            self.hooks.append(block.register_forward_pre_hook(self._enter))
            self.hooks.append(block.register_forward_hook(self._leave))
        self.saved = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)
        self.saved.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.saved.__exit__(*error)
        for hook in self.hooks:
            hook.remove()

    def _enter(self, block: nn.Module, arguments: tuple[Any, ...]) -> None:
        self.depth += 1
        self.within.append({})
        self.inputs += _bytes(a for a in arguments if hasattr(a, "element_size"))

    def _leave(self, block: nn.Module, arguments: Any, result: Any) -> None:
        self.depth -= 1

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        if place not in self.own:
            (self.within[-1] if self.depth else self.outside)[place] = storage.nbytes()
        return tensor

    def total(self, recomputed: bool) -> int:
        """Bytes kept."""
        if recomputed and self.within:
            return sum(self.outside.values()) + self.inputs + max(sum(block.values()) for block in self.within)
        whole = dict(self.outside)
        for block in self.within:
            whole |= block
        return sum(whole.values())


def _judged(objective: Objective, discriminators: nn.Module) -> int:
    """Bytes of activations of the discriminators, true and made sound at once; shapes alone, on the meta device."""
    import torch

    items, frames = cast("Judged", objective).judged()
    judges = copy.deepcopy(discriminators).to("meta")
    counted: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        counted.append(tensor.numel() * tensor.element_size())
        return tensor

    sound = torch.empty(items, frames * objective.config.audio.hop, device="meta", requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        judges(sound)
    return 2 * sum(counted)


def refuse_too_small(memory: Memory, device: str, free: float) -> None:
    """Raises ConfigError when a device with `free` GiB cannot hold a training."""
    needed = memory.total + CONTEXT
    if needed > free:
        raise ConfigError(
            f"{device}: has {free:.1f} GiB free and this training needs about {needed:.1f}; make objective.batch or "
            "objective.positions smaller and trainer.accumulate larger, set trainer.gradient_checkpointing=true, or "
            "take a smaller size (caretta train 8gb/…)"
        )


def look_ahead(objective: Objective, config: TrainerConfig, device: str, tell: Callable[[str], None]) -> Memory:
    """Tells what a training will take. Raises ConfigError when that is more than its GPU has free."""
    import torch

    memory = estimate(objective, config)
    tell(memory.text())
    if device.startswith("cuda"):
        refuse_too_small(memory, device, torch.cuda.mem_get_info(device)[0] / GIB)
    return memory


def measured(device: str) -> str:
    """The most memory taken until now: of torch's allocator on a GPU, of the whole process on a CPU."""
    import torch

    if device.startswith("cuda"):
        return f"memory: {torch.cuda.max_memory_allocated(device) / GIB:.2f} GiB taken on {device} at most"
    return f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB:.2f} GiB taken by the process"


def told_after(
    device: str, tell: Callable[[str], None], progress: Callable[[int, int], None] | None = None
) -> Callable[[int, int], None]:
    """A progress function that also tells the measured memory, once, after AFTER steps."""
    seen = [0]

    def advance(step: int, end: int) -> None:
        seen[0] += 1
        if seen[0] == AFTER:
            tell(measured(device))
        if progress is not None:
            progress(step, end)

    return advance
