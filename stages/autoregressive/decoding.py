"""Decoding of speech codes: many candidates of many texts at once, each with the bytes it would have alone.

Matrix products of another size may round differently, so a tile of SLOTS * ROWS rows goes through the model's linear
layers, dummies where there is nothing to say (or another number of slots, where products are known to agree:
`tiles.py`). A slot holds ROWS candidates of one text and attends on its own. A slot that is done takes the next
candidates at once ("continuous batching", Yu et al. 2022, Orca), long texts first, so that few slots idle at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.autoregressive.config import AutoregressiveConfig
from stages.autoregressive.faults import find_faults
from stages.autoregressive.model import AutoregressiveDecoder, Prompt
from stages.autoregressive.sampling import draw, filter_logits, penalise
from stages.core.seeding import generator

SLOTS, ROWS = 8, 4
"""32 rows: fewer make poor use of the processor, more make a single sentence slow where the tile cannot be smaller.
Bytes depend on both: changing one means a new version of the stage."""
MOST_SLOTS = 16
"""of a tile where products of that size are known to agree: a tenth faster an item"""
LOOK = 4
"""steps between two looks for slots that are done: a look makes a GPU wait"""


@dataclass(frozen=True)
class Request:
    """One text: P symbol ids with pauses at both ends, voice latents (1, Q, D), and a seed for each candidate."""

    phones: list[int]
    latents: Tensor
    seeds: list[int]


@dataclass(frozen=True)
class Sampled:
    """One candidate: codes, mean log-probability per code (nats, temperature 1) and what is wrong with it."""

    codes: list[int]
    log_prob: float
    faults: tuple[str, ...]
    places: list[int]
    """index of the phone that each code is a part of"""


@dataclass(frozen=True)
class Work:
    """Row-steps of the tile: all that were computed, and those that gave a code of a candidate."""

    steps: int = 0
    useful: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.steps + other.steps, self.useful + other.useful)

    @property
    def waste(self) -> float:
        """Share of the row-steps that gave nothing."""
        return 1 - self.useful / self.steps if self.steps else 0.0


@dataclass(frozen=True)
class _Job:
    """Up to ROWS candidates of one request: what one slot decodes."""

    request: int
    phones: list[int]
    seeds: list[int]
    prompt: Prompt
    limit: int


def sample(
    model: AutoregressiveDecoder,
    requests: list[Request],
    config: AutoregressiveConfig,
    slots: tuple[int, ...] = (SLOTS,),
) -> tuple[list[list[Sampled]], Work]:
    """One candidate per seed of each request, and the work it took.

    Args:
        slots: sizes that the tile may have, SLOTS among them.
    """
    limits = [math.ceil(config.max_codes_per_phone * len(r.phones)) for r in requests]
    longest = max((len(r.phones) for r in requests), default=0)
    jobs = sum(math.ceil(len(r.seeds) / ROWS) for r in requests)
    size = min((n for n in slots if n >= jobs), default=max(slots))
    tile = _Tile(model, config, size, longest, max(limits, default=0))
    waiting = _jobs(model, requests, limits)
    found: list[dict[int, Sampled]] = [{} for _ in requests]
    while tile.fill(waiting):
        for _ in range(LOOK):
            tile.step()
        for job, candidates in tile.harvest():
            found[job.request].update(zip(job.seeds, candidates, strict=True))
    sampled = [[own[seed] for seed in r.seeds] for own, r in zip(found, requests, strict=True)]
    return sampled, Work(tile.steps * size * ROWS, sum(len(s.codes) for own in sampled for s in own))


def _jobs(model: AutoregressiveDecoder, requests: list[Request], limits: list[int]) -> Iterator[_Job]:
    """Longest text first, one prefill a request, made when its first candidates are about to start."""
    for n in sorted(range(len(requests)), key=lambda n: -len(requests[n].phones)):
        request = requests[n]
        prompt = model.prefill(torch.tensor([request.phones], device=request.latents.device), request.latents)
        for first in range(0, len(request.seeds), ROWS):
            yield _Job(n, request.phones, request.seeds[first : first + ROWS], prompt, limits[n])


class _Tile:
    """Everything about the rows (R = slots * ROWS) that are decoded together. Steps are counted from a slot's start."""

    def __init__(
        self, model: AutoregressiveDecoder, config: AutoregressiveConfig, slots: int, phones: int, limit: int
    ) -> None:
        self.model, self.config, self.steps = model, config, 0
        self.jobs: list[_Job | None] = [None] * slots
        rows, device = slots * ROWS, model.pointer.weight.device
        longest = math.ceil(limit / LOOK) * LOOK  # a slot may run on until the next look
        self.cache = model.slots(slots, ROWS, model.config.latents + phones + longest)
        self.row = torch.arange(rows, device=device)
        self.slot = self.row // ROWS
        self.pointed = torch.zeros(slots, phones, model.config.width, device=device)
        self.last = torch.zeros(rows, dtype=torch.long, device=device)  # index of the last phone
        self.uniform = torch.zeros(longest, rows, 2, device=device)
        self.code = torch.full((rows,), model.start_code, device=device)
        self.recent = torch.full((rows, config.repetition_window), model.start_code, device=device)
        self.pointer = torch.zeros_like(self.last)
        self.step_of = torch.zeros_like(self.last)
        self.stopped = torch.ones(rows, dtype=torch.bool, device=device)
        self.length = torch.zeros_like(self.last)
        self.codes = torch.zeros(longest, rows, dtype=torch.long, device=device)
        self.places = torch.zeros_like(self.codes)
        self.log_prob = torch.zeros(longest, rows, device=device)

    def fill(self, waiting: Iterator[_Job]) -> bool:
        """Gives idle slots something to do; whether any has."""
        for slot, job in enumerate(self.jobs):
            if job is None and (new := next(waiting, None)) is not None:
                self._start(slot, new)
        return any(self.jobs)

    def _start(self, slot: int, job: _Job) -> None:
        self.jobs[slot] = job
        self.cache.load(slot, job.prompt.cache)
        rows = self.cache.of(slot)
        self.pointed[slot, : len(job.phones)] = job.prompt.pointed
        self.last[rows] = len(job.phones) - 1
        for row, seed in enumerate(job.seeds, start=rows.start):
            self.uniform[: job.limit, row] = torch.rand(job.limit, 2, generator=generator(seed)).to(self.uniform.device)
        self.code[rows] = self.recent[rows] = self.model.start_code
        self.pointer[rows] = self.step_of[rows] = self.length[rows] = 0
        self.stopped[rows] = self.row[:ROWS] >= len(job.seeds)  # rows beyond the seeds are dummies

    def step(self) -> None:
        """One more code in every row; those of dummies and of rows that have stopped are never read."""
        config, at = self.config, (self.step_of, self.row)
        logits, moves = self.model.step(self.code, self.pointed[self.slot, self.pointer], self.cache)
        log_p = logits.log_softmax(-1)
        if config.repetition_penalty != 1.0:
            logits = penalise(logits, self.recent, config.repetition_penalty)
        uniform = self.uniform[at]
        self.code = draw(filter_logits(logits, config.temperature, config.top_k, config.top_p), uniform[:, 0])
        move = draw((moves / config.duration_temperature).softmax(-1), uniform[:, 1])
        self.codes[at], self.places[at] = self.code, self.pointer
        self.log_prob[at] = log_p.gather(-1, self.code.unsqueeze(-1)).squeeze(-1)
        self.recent = torch.cat((self.recent, self.code.unsqueeze(-1)), dim=-1)[:, 1:]
        self.length = self.length + ~self.stopped
        self.stopped = self.stopped | (self.pointer + move > self.last)
        self.pointer = torch.minimum(self.pointer + move, self.last)
        self.step_of = (self.step_of + 1).clamp_max(len(self.codes) - 1)
        self.steps += 1

    def harvest(self) -> Iterator[tuple[_Job, list[Sampled]]]:
        """The jobs that are done, their slots idle from now on."""
        stopped = self.stopped.tolist()
        for slot, job in enumerate(self.jobs):
            rows = self.cache.of(slot)
            if job and (all(stopped[rows]) or self.cache.lengths[slot] >= job.prompt.cache.length + job.limit):
                yield job, [self._candidate(job, row) for row in range(rows.start, rows.start + len(job.seeds))]
                self.jobs[slot] = None
                self.stopped[rows] = True
                self.cache.free(slot)

    def _candidate(self, job: _Job, row: int) -> Sampled:
        length = int(self.length[row])
        stopped = bool(self.stopped[row]) and length <= job.limit
        end = min(length, job.limit)
        codes, places = self.codes[:end, row].tolist(), self.places[:end, row].tolist()
        faults = find_faults(codes, places, job.phones, stopped)
        return Sampled(codes, float(self.log_prob[:end, row].mean()), faults, places)
