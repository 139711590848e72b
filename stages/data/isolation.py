"""Jobs in worker processes where a job that kills its process (a decoder's crash, no memory) costs that job only."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

J = TypeVar("J")
R = TypeVar("R")
FEW = 24
"""jobs that are done here before worker processes have started"""
Work = Callable[..., list[R]]


class CannotStart(RuntimeError):
    """Worker processes die before they are given anything."""


def isolated(
    work: Work[R],
    arguments: tuple[Any, ...],
    jobs: Sequence[J],
    workers: int,
    fallen: Callable[[J], R],
    chunk: int = 16,
    few: int = FEW,
) -> Iterator[tuple[list[J], list[R]]]:
    """Yields (jobs, results) of `work(jobs, *arguments)` chunk by chunk, as they are done.

    Few jobs or one worker: in this process. Else in spawned ones. When one dies, what it may have been doing is done
    job by job in a process that nothing else depends on.

    Args:
        work: a function of a module; gives one result per job.
        fallen: the result of a job that kills its process.

    Raises:
        CannotStart: see there.
        Exception: whatever `work` raises.
    """
    waiting = deque(list(jobs[start : start + chunk]) for start in range(0, len(jobs), chunk))
    if workers < 2 or len(jobs) <= few:
        while waiting:
            part = waiting.popleft()
            yield part, work(part, *arguments)
        return
    while waiting:
        suspects: list[list[J]] = []
        yield from _until_broken(work, arguments, waiting, workers, suspects)
        yield from _one_by_one(work, arguments, [job for part in suspects for job in part], fallen)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _until_broken(
    work: Work[R], arguments: tuple[Any, ...], waiting: deque[list[J]], workers: int, suspects: list[list[J]]
) -> Iterator[tuple[list[J], list[R]]]:
    """Works until all is done or a process dies; then `suspects` holds what was being done."""
    running: dict[Future[list[R]], list[J]] = {}
    with _pool(workers) as pool:
        try:
            while waiting or running:
                while waiting and len(running) <= workers:
                    running[pool.submit(work, waiting[0], *arguments)] = waiting[0]
                    waiting.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    results = future.result()
                    yield running.pop(future), results
        except BrokenProcessPool:
            suspects += running.values()


def _one_by_one(
    work: Work[R], arguments: tuple[Any, ...], jobs: list[J], fallen: Callable[[J], R]
) -> Iterator[tuple[list[J], list[R]]]:
    left = deque(jobs)
    while left:
        with _pool(1) as pool:
            try:
                pool.submit(_ready).result()
            except BrokenProcessPool:
                raise CannotStart(
                    "worker processes end before they begin; call this from a file with `if __name__ == '__main__':`, "
                    "or with workers=1"
                ) from None
            try:
                while left:
                    results = pool.submit(work, [left[0]], *arguments).result()
                    yield [left.popleft()], results
            except BrokenProcessPool:
                job = left.popleft()
                yield [job], [fallen(job)]


def _ready() -> bool:
    return True
