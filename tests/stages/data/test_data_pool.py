"""Work by chunks: results in order, progress told, errors raised; a worker process that ends is said in a sentence."""

import os

import pytest

from stages.data.pool import in_chunks


def _double(factor, jobs):
    if 99 in jobs:
        raise ValueError("99 cannot be doubled")
    return [factor * job for job in jobs]


def _end(jobs):
    os._exit(1)


def test_results_come_in_order_and_progress_is_told():
    told = []
    found = list(in_chunks(_double, (2,), range(7), 1, 3, lambda *n: told.append(n)))
    assert found == [0, 2, 4, 6, 8, 10, 12] and told == [(3, 7), (6, 7), (7, 7)]
    assert list(in_chunks(_double, (2,), [], 2, 3)) == []


def test_an_error_of_the_work_is_raised():
    done = in_chunks(_double, (2,), [1, 2, 99], 1, 2)
    assert [next(done), next(done)] == [2, 4]
    with pytest.raises(ValueError, match="99 cannot be doubled"):
        next(done)


def test_threads_of_torch_are_as_they_were():
    import torch

    before = torch.get_num_threads()
    assert list(in_chunks(lambda jobs: [torch.get_num_threads() for _ in jobs], (), [1], 1, 1)) == [1]
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_worker_processes():
    assert list(in_chunks(_double, (3,), range(9), 2, 2, few=0)) == [3 * n for n in range(9)]
    with pytest.raises(ValueError, match="99 cannot be doubled"):
        list(in_chunks(_double, (3,), [1, 99, 2], 2, 1, few=0))
    with pytest.raises(RuntimeError, match="a worker process ended .*; what is done is kept"):
        list(in_chunks(_end, (), [1, 2], 2, 1, few=0))
