"""Device slots: how many tasks run at once on the CPU and on each accelerator, and never more.

A slot is the right to run one task on one device, in the thread that asks or in a worker process of the slot's own. CPU
tasks have slots of their own, so that they run beside accelerator tasks.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from flows.workers import Worker, WorkerDied, WorkerError

Kind = Literal["cpu", "accelerator"]
GIB = 2**30


class DeviceError(ValueError):
    """A device that is not there, or too small; the message is one sentence with the mend."""


class SlotsClosed(RuntimeError):
    """The run is over: nothing more is started."""


@dataclass
class Slot:
    """The right to run one task on a device."""

    device: str
    worker: Worker | None = None
    """its process; None: tasks run in the thread that asks"""


class Slots:
    """The slots of a run. As a context manager it ends its processes."""

    def __init__(self, devices: Mapping[Kind, Sequence[str]], processes: bool = False, modules: Sequence[str] = ()):
        """
        Args:
            devices: a device per slot, as `layout` gives them; without accelerators all tasks share the CPU's.
            processes: whether each slot is a process (which starts at once), where `modules` are imported ahead.
        """
        self._modules = tuple(modules)
        self._processes = processes
        self._free: dict[Kind, deque[Slot]] = {
            kind: deque(Slot(device, self._worker()) for device in names) for kind, names in devices.items()
        }
        self._slots = [slot for free in self._free.values() for slot in free]
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._slots)

    def run(self, kind: Kind, memory_gb: float, call: Callable[..., Any], *args: Any) -> Any:
        """`call(*args, device)` on a free slot, for which it waits.

        Args:
            memory_gb: what the call needs on an accelerator, GiB.

        Raises:
            DeviceError: the device has less memory than that.
            WorkerDied: the slot's process ended meanwhile; the slot has a new one.
            SlotsClosed: the run is over.
            whatever `call` raises.
        """
        kind = kind if self._free.get(kind) is not None else "cpu"
        slot = self._take(kind)
        try:
            if slot.worker is None:
                return on_device(slot.device, memory_gb, call, args)
            return slot.worker.call(on_device, slot.device, memory_gb, call, args)
        except (WorkerDied, WorkerError):
            self._replace(slot)
            raise
        finally:
            self._give(kind, slot)

    def close(self) -> None:
        """Ends the processes, also those at work; who waits for a slot gets SlotsClosed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            for slot in self._slots:
                if slot.worker is not None:
                    slot.worker.kill()

    def __enter__(self) -> Slots:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, kind: Kind) -> Slot:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._free[kind])
            if self._closed:
                raise SlotsClosed("the run is over")
            return self._free[kind].popleft()

    def _give(self, kind: Kind, slot: Slot) -> None:
        with self._changed:
            self._free[kind].appendleft(slot)  # taken first again: its process has models loaded
            self._changed.notify_all()

    def _replace(self, slot: Slot) -> None:
        with self._changed:
            if self._closed:
                raise SlotsClosed("the run is over") from None
            if slot.worker is not None:
                slot.worker.kill()
            slot.worker = self._worker()

    def _worker(self) -> Worker | None:
        return Worker(self._modules) if self._processes else None


def on_device(device: str, memory_gb: float, call: Callable[..., Any], args: Sequence[Any]) -> Any:
    """`call(*args, device)` after a look at the device's memory. Raises DeviceError when that is too small."""
    if device.startswith("cuda"):
        _check_memory(device, memory_gb)
    return call(*args, device)


def _check_memory(device: str, memory_gb: float) -> None:
    import torch

    if not torch.cuda.is_available():
        return  # loading the stage says in a sentence what is wrong
    have = torch.cuda.mem_get_info(device)[1] / GIB
    if memory_gb > have:
        raise DeviceError(
            f"{device} has {have:.1f} GiB of memory and a task needs {memory_gb:g}; name a larger one with "
            "--set device=…, or --set device=cpu"
        )


def layout(devices: Sequence[str], slots: int, workers: int, tasks: int) -> dict[Kind, list[str]]:
    """A device per slot, by kind; without an accelerator there is no such kind.

    Args:
        devices: as the route names them: "cpu", "cuda" (every one that is visible), "cuda:1"…
        slots: tasks at once per accelerator.
        workers: tasks at once on the CPU; 0 = one per core.
        tasks: there are never more at once, and so no more slots of a kind than that.

    Raises:
        DeviceError: an accelerator that is not there.
    """
    accelerators = [name for device in devices if device != "cpu" for name in _accelerators(device)]
    cpu = ["cpu"] * (workers or cores())
    # device by device in turn, so that few tasks are spread over all of them
    found: dict[Kind, list[str]] = {"cpu": cpu[: max(1, tasks)]}
    if accelerators:
        found["accelerator"] = (list(dict.fromkeys(accelerators)) * slots)[: max(1, tasks)]
    return found


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _accelerators(device: str) -> list[str]:
    """ "cuda" as one name per visible device; the index counts what CUDA_VISIBLE_DEVICES leaves, as torch's does."""
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return [device]
    import torch

    count = torch.cuda.device_count()
    if not index and count:
        return [f"cuda:{i}" for i in range(count)]
    if not count or int(index) >= count:
        raise DeviceError(f"device {device!r} is not there: {count} CUDA devices are visible; try --set device=cpu")
    return [device]
