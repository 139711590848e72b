"""A worker: one process that serves calls one after another, so that the models it has loaded stay with it.

A worker ends with its parent, however that ends, and never sees the Ctrl-C that is meant for the parent. It is made by
`spawn`: a fork of a process that has threads, or CUDA, does not work.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_SPAWN = multiprocessing.get_context("spawn")


class WorkerDied(OSError):
    """The process ended in the middle of a call: killed for its memory, or crashed. The work may be tried again."""


class WorkerError(ValueError):
    """Worker processes cannot be used here; the message is one sentence with the mend."""


class Worker:
    """One process; starts at once and imports `modules` before its first call."""

    def __init__(self, modules: Sequence[str] = ()):
        self._connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, tuple(modules)), daemon=True)
        self._ready = False
        resource_tracker.ensure_running()  # `start` does that, and would undo the blocking
        with interrupts_blocked():
            self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid or 0

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """`function(*args)` in the process; function, arguments and result must be picklable.

        Raises:
            WorkerDied: the process ended meanwhile.
            WorkerError: the process could not even start.
            whatever the function raises.
        """
        if not self._ready:
            self._wait_until_ready()
        try:
            self._connection.send((function, args))
            succeeded, value = self._connection.recv()
        except (EOFError, OSError):
            raise WorkerDied("its worker process died, out of memory?") from None
        if not succeeded:
            raise value
        return value

    def kill(self) -> None:
        """Ends the process now; a call under way raises WorkerDied."""
        self._process.kill()
        self._process.join()

    def _wait_until_ready(self) -> None:
        try:
            self._connection.recv()
        except (EOFError, OSError):
            self._process.join(1.0)
            raise WorkerError(
                f"a worker process could not start (exit code {self._process.exitcode}); use --runner threads"
            ) from None
        self._ready = True


def _serve(connection: Connection, modules: Sequence[str]) -> None:
    """The life of a worker."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in _THREADS:  # before numpy or torch is imported: workers side by side would fight for the cores
        os.environ[name] = "1"
    for module in modules:
        with contextlib.suppress(ImportError):  # whoever needs it will say so in a sentence
            importlib.import_module(module)
    connection.send("ready")
    while True:
        try:
            function, args = connection.recv()
        except EOFError:
            return  # nobody will ask for anything any more
        _answer(connection, function, args)


def _answer(connection: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        outcome: tuple[bool, Any] = (True, function(*args))
    except Exception as error:  # is the caller's to judge; it is raised there
        error.add_note("".join(traceback.format_exception(error)))
        outcome = (False, error)
    try:
        connection.send(outcome)
    except (TypeError, AttributeError, ValueError) as error:  # what a value that does not travel raises
        connection.send((False, RuntimeError(f"{outcome[1]!r} cannot be passed between processes ({error})")))


def end_with_this_process(pid: int) -> None:
    """Has the process `pid` end when this one does, also by a kill: a small process of its own sees to that."""
    resource_tracker.ensure_running()
    with interrupts_blocked():
        _SPAWN.Process(target=_end_after_parent, args=(pid,), daemon=True).start()


def _end_after_parent(pid: int) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def _end_with_parent() -> None:
    """A killed parent cannot end its workers: they watch it. (Linux's PR_SET_PDEATHSIG would watch one thread only.)"""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextlib.contextmanager
def interrupts_blocked() -> Iterator[None]:
    """A process started meanwhile never sees a Ctrl-C: it inherits this thread's mask, from its first instruction."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
