"""Work on a corpus in worker processes, chunk by chunk, with the results in order."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

T = TypeVar("T")
FEW = 64
"""jobs that are done before worker processes have started"""


def in_chunks(
    work: Callable[..., Sequence[T]],
    arguments: tuple[Any, ...],
    jobs: Sequence[Any],
    workers: int,
    chunk: int,
    progress: Callable[[int, int], None] | None = None,
    few: int = FEW,
) -> Iterator[T]:
    """Yields the results of `work(*arguments, jobs[a:b])` in the order of the jobs.

    Few jobs, one worker, or a process that may have no children: in this one. Else in spawned ones, which leave with
    the last result, or with the first error, which is raised here. Torch has one thread, enough for short sounds.

    Args:
        work: a function of a module; gives one result per job.
        progress: told (jobs done, jobs) after every chunk.

    Raises:
        RuntimeError: a worker process ended before its work; and what `work` raises.
    """
    chunks = [jobs[start : start + chunk] for start in range(0, len(jobs), chunk)]
    if workers < 2 or len(jobs) <= few or multiprocessing.current_process().daemon:
        yield from _counted((_here(work, arguments, part) for part in chunks), len(jobs), progress)
        return
    with ProcessPoolExecutor(
        min(workers, len(chunks)), mp_context=multiprocessing.get_context("spawn"), initializer=_start
    ) as pool:
        futures = [pool.submit(work, *arguments, part) for part in chunks]
        try:
            yield from _counted((future.result() for future in futures), len(jobs), progress)
        except BrokenProcessPool:
            raise RuntimeError(
                "a worker process ended (no memory left, or the call is in a file without "
                "`if __name__ == '__main__':`); what is done is kept, run again with fewer workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start() -> None:
    import torch

    torch.set_num_threads(1)


def _here(work: Callable[..., Sequence[T]], arguments: tuple[Any, ...], part: Sequence[Any]) -> Sequence[T]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return work(*arguments, part)
    finally:
        torch.set_num_threads(threads)


def _counted(parts: Iterator[Sequence[T]], total: int, progress: Callable[[int, int], None] | None) -> Iterator[T]:
    done = 0
    for part in parts:
        yield from part
        done += len(part)
        if progress:
            progress(done, total)
