"""Monotonic alignment search against a loop over items, frames and phones: python tests/bench/bench_alignment_search.py

Prints milliseconds per batch on one core, for both, and whether their paths are the same.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from stages.vits.alignment import maximum_path, search  # noqa: E402

SIZES = ((1, 300, 75), (16, 600, 150), (16, 1000, 300))
"""items, frames, symbols"""


def naive(value):
    """(T, P) -> (T,) phone of every frame: the algorithm as the paper writes it."""
    frames, phones = value.shape
    best = np.full((frames, phones), -np.inf, np.float32)
    best[0, 0] = value[0, 0]
    for t in range(1, frames):
        for p in range(min(t + 1, phones)):
            before = best[t - 1, p - 1] if p else -np.inf
            best[t, p] = value[t, p] + max(best[t - 1, p], before)
    at = np.empty(frames, np.int64)
    p = phones - 1
    for t in range(frames - 1, -1, -1):
        at[t] = p
        if p and t and (p == t or best[t - 1, p - 1] > best[t - 1, p]):
            p -= 1
    return at


def quickest(work, times=5):
    """Milliseconds of the quickest of some calls."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return 1000 * min(seconds)


def main():
    torch.set_num_threads(1)
    for batch, frames, phones in SIZES:
        draws = torch.Generator().manual_seed(0)
        value = torch.randn(batch, frames, phones, generator=draws)
        mask = torch.ones_like(value)
        z, mean = (torch.randn(batch, 192, n, generator=draws) for n in (frames, phones))
        masks = torch.ones(batch, 1, frames), torch.ones(batch, 1, phones)
        start = time.perf_counter()
        slow = [naive(v) for v in value.numpy()]
        looped = 1000 * (time.perf_counter() - start)
        same = np.array_equal(maximum_path(value, mask).argmax(2).numpy(), np.stack(slow))
        path = quickest(lambda v=value, m=mask: maximum_path(v, m))
        whole = quickest(lambda z=z, m=mean, k=masks, g=draws: search(z, m, 0 * m, *k, 0.01, g))
        print(
            f"batch {batch:2}  frames {frames:4}  symbols {phones:3}  path {path:6.1f} ms  with likelihoods and noise "
            f"{whole:6.1f} ms  naive {looped:8.0f} ms ({looped / path:.0f}x)  same paths: {same}",
            flush=True,
        )


if __name__ == "__main__":
    main()
