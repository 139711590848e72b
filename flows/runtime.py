"""How Prefect is run here: its environment, the embedded server, and a complete record before the process ends."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.workers import end_with_this_process, interrupts_blocked

DRAIN_SECONDS = 120.0


def prepare_environment(cache: Path) -> None:
    """Settings of the embedded server that must stand before Prefect is imported; what the user set stays.

    A fresh home needs longer than Prefect's default to start, nothing may be sent anywhere, and its database lies with
    the cache.
    """
    defaults = {
        "PREFECT_HOME": str((cache / "prefect").resolve()),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    # the server makes this folder, not its parents: without them it dies and is started again until time is up
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)


class EngineError(ValueError):
    """The flow engine could not run; the message is one sentence with the mend."""


@contextmanager
def engine(cache: Path) -> Iterator[None]:
    """Around importing and calling a flow: its environment, and one sentence when the server does not start."""
    prepare_environment(cache)
    try:
        yield
    except RuntimeError as error:
        if "Prefect API server" not in str(error):
            raise
        raise EngineError(
            "the flow engine did not start in time (a busy machine?); run it again, or set "
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS to more seconds"
        ) from None


def call(flow: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Calls a flow without the heartbeat, which would hold the exit for a second."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    start_server()
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        return flow(*arguments, **options)


def start_server() -> None:
    """Starts the embedded server, unless PREFECT_API_URL names another.

    A Ctrl-C goes to every process of a terminal: the server must not end before the flow that has to tell it so. So it
    is started by a thread that blocks it, while this one can be interrupted.

    Raises:
        RuntimeError: it did not start in time.
    """
    errors: list[RuntimeError] = []
    starting = threading.Thread(target=_start_server, args=(errors,), daemon=True)
    starting.start()
    starting.join()
    if errors:
        raise errors[0]


def _start_server(errors: list[RuntimeError]) -> None:
    from prefect.client.base import ServerType
    from prefect.client.orchestration import get_client

    with interrupts_blocked():
        try:
            client = get_client(sync_client=True)
        except RuntimeError as error:
            errors.append(error)
            return
    if client.server_type == ServerType.EPHEMERAL:
        from prefect.server.api.server import SubprocessASGIServer

        server = SubprocessASGIServer().server_process
        if server is not None:
            end_with_this_process(server.pid)  # Prefect stops it at exit, but not after a kill


@contextmanager
def progress_bars() -> Iterator[Callable[[str, float, float], None]]:
    """Gives `progress(what, done, wanted)`: a bar for each `what` on stderr when that is a terminal, else silence."""
    if not sys.stderr.isatty():
        yield lambda what, done, wanted: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    tasks: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def advance(what: str, done: float, wanted: float) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=wanted)
            bars.update(tasks[what], completed=min(done, wanted))

        yield advance


def drain_flow(expected: int) -> None:
    """`drain` for the flow that runs now; call it at its end, also when it failed."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        drain(context.flow_run.id, expected)


def drain(flow_run_id: Any, expected: int) -> int:
    """Waits until the server has recorded every task's end: the embedded one dies with this process.

    Returns:
        task runs that are recorded as ended (fewer than `expected` only after DRAIN_SECONDS).
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    deadline, ended, wait = time.monotonic() + DRAIN_SECONDS, 0, 0.1
    with get_client(sync_client=True) as client:
        while ended < expected and time.monotonic() < deadline:
            ended = _ended(client, FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
            if ended < expected:
                time.sleep(wait)
                wait = min(wait * 1.5, 2.0)
    return ended


def _ended(client: Any, flow_runs: Any) -> int:
    types = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
    body = {
        "flow_runs": flow_runs.model_dump(mode="json", exclude_unset=True),
        "task_runs": {"state": {"type": {"any_": types}}},
    }
    response = client._client.post("/task_runs/count", json=body)
    response.raise_for_status()
    return int(response.json())
