"""Where a run's tasks are done: on this machine's device slots, or on a Ray cluster. Chosen once per run."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from flows.batch import Job
from flows.devices import Kind, Slots, cores, layout, on_device
from flows.workers import WorkerDied
from stages.core.pipeline import shard_size
from stages.core.route import Route

PROCESSES_PAY = 24
"""open sentences from which the start of worker processes is worth its seconds"""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class RunnerError(ValueError):
    """A runner that cannot be used; the message is one sentence with the mend."""


class Devices(Protocol):
    """What a task asks to be run on a device: `Slots`, or `RayDevices` in a Ray worker."""

    def run(self, kind: Kind, memory_gb: float, call: Any, *args: Any) -> Any: ...


@dataclass(frozen=True)
class Place:
    """A started task runner of Prefect and what goes with it."""

    runner: Any
    devices: Devices
    at_once: int
    """shards that are on their way at once: more than can run, so that no slot waits for the next task"""
    lost: tuple[type[BaseException], ...]
    """what a task raises whose process died under it"""

    def submitting(self, kind: Kind) -> AbstractContextManager[Any]:
        """Around the submission of a task of this kind."""
        wanted = self.devices.wants(kind) if isinstance(self.devices, RayDevices) else None
        if wanted is None:
            return contextlib.nullcontext()
        from prefect_ray.context import remote_options

        return remote_options(**wanted)


def runner_name(job: Job) -> str:
    """The runner that the request names; `auto` is processes where they pay, else threads."""
    if job.request.runner != "auto":
        return job.request.runner
    on_cpu = all(device == "cpu" for device in job.pipeline.route.devices)
    return "processes" if on_cpu and cores() > 1 and len(job.open_units) >= PROCESSES_PAY else "threads"


def open_slots(job: Job) -> Slots:
    """This machine's slots; processes start now, beside whatever else has to start. Raises DeviceError."""
    route = job.pipeline.route
    tasks = -(-len(job.open_units) // shard_size(route, len(job.open_units)))
    devices = layout(route.devices, route.slots, route.workers, tasks)
    modules = [node.target.partition(":")[0] for node in route.nodes]
    return Slots(devices, runner_name(job) == "processes", modules)


@contextlib.contextmanager
def open_place(job: Job, slots: Slots | None = None) -> Iterator[Place]:
    """The place that the request asks for, within a flow run; it is closed at the end, whatever was under way.

    Args:
        slots: opened before, when there was time for it.

    Raises:
        DeviceError, RunnerError: it cannot be had.
    """
    if runner_name(job) == "ray":
        with _ray(job) as place:
            yield place
        return
    from prefect.task_runners import ThreadPoolTaskRunner

    with contextlib.ExitStack() as stack:
        slots = slots if slots is not None else open_slots(job)
        at_once = 2 * len(slots) + 2
        runner: Any = stack.enter_context(ThreadPoolTaskRunner(max_workers=at_once))
        stack.enter_context(slots)  # closed first, so that the runner has no thread to wait for
        yield Place(runner, slots, at_once, (WorkerDied,))


@dataclass(frozen=True)
class RayDevices:
    """In a Ray worker: Ray has chosen it, and by CUDA_VISIBLE_DEVICES its one accelerator, which is number 0 there."""

    accelerator: str
    """ "cuda" or another kind; "cpu" when the route has none"""
    slots: int
    """tasks at once per accelerator"""

    @classmethod
    def of(cls, route: Route) -> RayDevices:
        """Those of a route; which accelerators there are is the cluster's to say."""
        kinds = [device.partition(":")[0] for device in route.devices if device != "cpu"]
        return cls(kinds[0] if kinds else "cpu", route.slots)

    def wants(self, kind: Kind) -> dict[str, Any]:
        """Options of `ray.remote`. `max_calls` 0 keeps the process, and with it the models that it has loaded."""
        if kind == "cpu" or self.accelerator == "cpu":
            return {"num_cpus": 1, "num_gpus": 0, "max_calls": 0, "max_retries": 1}
        return {"num_cpus": 0, "num_gpus": 1 / self.slots, "max_calls": 0, "max_retries": 1}

    def at_once(self, resources: dict[str, float]) -> int:
        """Tasks that a cluster of these resources runs at once."""
        accelerators = resources.get("GPU", 0) * self.slots if self.accelerator != "cpu" else 0
        return int(resources.get("CPU", 0) + accelerators)

    def run(self, kind: Kind, memory_gb: float, call: Any, *args: Any) -> Any:
        """As `Slots.run`; the slot is the Ray task's own, also while it waits for another process's result."""
        device = "cpu" if kind == "cpu" or self.accelerator == "cpu" else f"{self.accelerator}:0"
        return on_device(device, memory_gb, call, args)


@contextlib.contextmanager
def _ray(job: Job) -> Iterator[Place]:
    """A Ray cluster: the one at the request's address, or one of this machine for the time of the run."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        from prefect_ray.task_runners import RayTaskRunner
    except ImportError:
        raise RunnerError("--runner ray needs Ray, which is not installed; run uv sync --extra ray") from None
    from prefect.settings import PREFECT_API_URL, temporary_settings

    address, devices = job.request.address, RayDevices.of(job.pipeline.route)
    if address is not None:
        check_address(address)
    url = _server()
    workers = {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "PREFECT_API_URL": url}
    options: dict[str, Any] = {"runtime_env": {"env_vars": workers}, "log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        accelerators = layout(job.pipeline.route.devices, 1, 1, 2**31).get("accelerator", [])
        count = job.pipeline.route.workers or cores()
        options |= {"include_dashboard": False, "num_cpus": count, "num_gpus": len(accelerators)}
        options["_node_ip_address"] = "127.0.0.1"  # nobody else has to reach it
    runner = RayTaskRunner(address=address, init_kwargs=options)
    crashes = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError)
    with temporary_settings({PREFECT_API_URL: url}):  # travels with every task: no worker starts a server of its own
        try:
            runner.__enter__()
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RunnerError(
                f"the Ray cluster at {address or 'this machine'} cannot be used ({reason}); start it with ray start, "
                "or name it with --address"
            ) from None
        try:
            check_reach(url, [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]])
            yield Place(runner, devices, 2 * devices.at_once(ray.cluster_resources()) + 2, crashes)
        finally:
            runner.__exit__(None, None, None)


def check_address(address: str) -> None:
    """Refuses an address at which nothing listens: Ray itself would try for minutes. Raises RunnerError."""
    if address in ("auto", "local"):
        return
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10).close()
    except (OSError, ValueError) as error:
        raise RunnerError(
            f"there is no Ray cluster at {address} ({error}); start one with ray start --head, or give its HOST:PORT "
            "or ray://HOST:10001 with --address"
        ) from None


def _server() -> str:
    """URL of the Prefect server that this flow runs against."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return str(client.api_url)


def check_reach(url: str, nodes: Iterable[str]) -> None:
    """Refuses a Prefect server of this machine alone when nodes (IP addresses) are others. Raises RunnerError."""
    far = [node for node in nodes if not _is_here(node)]
    if far and urlsplit(url).hostname in _LOOPBACK:
        raise RunnerError(
            f"the Ray node {far[0]} cannot reach the flow engine of this machine; set PREFECT_API_URL to a Prefect "
            "server that every machine of the cluster reaches"
        )


def _is_here(address: str) -> bool:
    """Whether an IP address is one of this machine's: only those can be listened on."""
    try:
        socket.create_server((address, 0)).close()
    except OSError:
        return False
    return True
