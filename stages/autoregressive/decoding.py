"""Sampling of speech codes: k candidates of one text from one prefill, a generator each; learned stop, length guard."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.autoregressive.config import AutoregressiveConfig
from stages.autoregressive.model import AutoregressiveDecoder
from stages.core import symbols
from stages.core.seeding import generator
from stages.nn.attention import KeyValueCache

ROWS = 8
"""Candidates are always decoded in groups of this many rows, short groups filled up: matrix products of another size
round differently, and a candidate must not depend on how many were asked for."""
LOOP_PERIOD, LOOP_REPEATS, LOOP_SPAN = 24, 4, 20
"""A loop is a stretch of at least LOOP_SPAN codes, of period up to LOOP_PERIOD, heard LOOP_REPEATS times or more."""
LONGEST_PHONE = 24
"""codes (0.77 s at 31.25 codes/s) on one phone beyond which the decoder is stuck"""


@dataclass(frozen=True)
class Sampled:
    """One candidate: codes, mean log-probability per code (nats, temperature 1) and what is wrong with it."""

    codes: list[int]
    log_prob: float
    faults: tuple[str, ...]


@dataclass(frozen=True)
class _Prompt:
    """One text, read: its phones (P), what a decoding step reads of them, and how many codes it may become."""

    phones: list[int]
    encoded: Tensor  # (1, P, D)
    cache: KeyValueCache  # of one row
    limit: int


def filter_logits(logits: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """Logits (K, C) -> probabilities after temperature, top-k and nucleus (Holtzman et al. 2020) filtering."""
    logits = logits / temperature
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    probabilities = logits.softmax(-1)
    if top_p < 1:
        ordered, index = probabilities.sort(dim=-1, descending=True, stable=True)
        outside = ordered.cumsum(-1) - ordered >= top_p  # the first code is always inside
        probabilities = probabilities.masked_fill(torch.zeros_like(outside).scatter(-1, index, outside), 0.0)
    return probabilities


def draw(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Inverse-transform sampling: unnormalised probabilities (K, C), uniform (K,) in [0, 1) -> indices (K,)."""
    total = probabilities.cumsum(-1)
    return (
        torch.searchsorted(total, uniform.unsqueeze(-1) * total[:, -1:], right=True)
        .squeeze(-1)
        .clamp_max(probabilities.shape[-1] - 1)
    )


def penalise(logits: Tensor, recent: Tensor, penalty: float) -> Tensor:
    """Repetition penalty (Keskar et al. 2019) on the logits (K, C) of the codes in `recent` (K, W).

    Positive ones are divided by it, negative ones multiplied.
    """
    seen = logits.gather(-1, recent)
    return logits.scatter(-1, recent, torch.where(seen > 0, seen / penalty, seen * penalty))


def sample(
    model: AutoregressiveDecoder, phones: list[int], latents: Tensor, seeds: list[int], config: AutoregressiveConfig
) -> list[Sampled]:
    """One candidate per seed for one text.

    Args:
        phones: P symbol ids, pauses at both ends.
        latents: voice latents (1, Q, D).
    """
    limit = math.ceil(config.max_codes_per_phone * len(phones))
    ids = torch.tensor([phones], device=latents.device)
    cache, encoded = model.prefill(ids, latents, limit)
    prompt = _Prompt(phones, encoded, cache, limit)
    out: list[Sampled] = []
    for first in range(0, len(seeds), ROWS):
        group = seeds[first : first + ROWS]
        filled = group + [group[-1]] * (ROWS - len(group))
        out += _sample_rows(model, prompt, filled, config)[: len(group)]
    return out


def _sample_rows(
    model: AutoregressiveDecoder, prompt: _Prompt, seeds: list[int], config: AutoregressiveConfig
) -> list[Sampled]:
    """One candidate for each of ROWS seeds."""
    phones, limit = prompt.phones, prompt.limit
    encoded, cache = prompt.encoded.expand(ROWS, -1, -1), prompt.cache.expand(ROWS)
    device, count = encoded.device, len(phones)
    uniform = torch.stack([torch.rand(limit, 2, generator=generator(s)) for s in seeds], dim=1)  # (limit, ROWS, 2)
    uniform = uniform.to(device)
    code = torch.full((ROWS,), model.start_code, device=device)
    pointer = torch.zeros(ROWS, dtype=torch.long, device=device)
    length = torch.full((ROWS,), limit, device=device)
    stopped = torch.zeros(ROWS, dtype=torch.bool, device=device)
    codes = torch.zeros(limit, ROWS, dtype=torch.long, device=device)
    places = torch.zeros(limit, ROWS, dtype=torch.long, device=device)
    log_prob = torch.zeros(limit, ROWS, device=device)
    for n in range(limit):
        logits, moves = model.step(code, pointer, encoded, cache)
        log_p = logits.log_softmax(-1)
        if config.repetition_penalty != 1.0 and n:
            logits = penalise(logits, codes[max(0, n - config.repetition_window) : n].T, config.repetition_penalty)
        code = draw(filter_logits(logits, config.temperature, config.top_k, config.top_p), uniform[n, :, 0])
        move = draw((moves / config.duration_temperature).softmax(-1), uniform[n, :, 1])
        codes[n], places[n], log_prob[n] = code, pointer, log_p.gather(-1, code.unsqueeze(-1)).squeeze(-1)
        pointer = pointer + move
        length = torch.where((pointer >= count) & ~stopped, n + 1, length)
        stopped = stopped | (pointer >= count)
        pointer = pointer.clamp_max(count - 1)
        if n % 8 == 7 and bool(stopped.all()):  # a look every 8 steps keeps a GPU busy
            break
    rows = []
    for k in range(ROWS):
        end = int(length[k])
        spoken, where = codes[:end, k].tolist(), places[:end, k].tolist()
        faults = find_faults(spoken, where, phones, bool(stopped[k]))
        rows.append(Sampled(spoken, float(log_prob[:end, k].mean()), faults))
    return rows


def find_faults(codes: list[int], places: list[int], phones: list[int], stopped: bool) -> tuple[str, ...]:
    """What is wrong with a candidate: `truncated` (the guard ended it, or it left phones unsaid), `loop`, `too_short`.

    Args:
        places: index into `phones` of each code.
    """
    pause = symbols.ids(["pau"])[0]
    faults = []
    sounding = sum(p != pause for p in phones)
    if not stopped or (places and places[-1] < len(phones) - 3):
        faults.append("truncated")
    voiced = [c for c, place in zip(codes, places, strict=True) if phones[place] != pause]
    if longest_run(places, {i for i, p in enumerate(phones) if p == pause}) > LONGEST_PHONE or has_loop(voiced):
        faults.append("loop")
    if len(voiced) < sounding:  # under one code (32 ms) a phone
        faults.append("too_short")
    return tuple(faults)


def longest_run(places: list[int], free: set[int]) -> int:
    """The most codes in a row on one phone that is not in `free`."""
    longest = run = 0
    for i, place in enumerate(places):
        run = run + 1 if i and place == places[i - 1] else 1
        longest = max(longest, 0 if place in free else run)
    return longest


def has_loop(codes: list[int]) -> bool:
    """Whether some stretch of the codes is one short pattern again and again."""
    for period in range(1, LOOP_PERIOD + 1):
        need = max(LOOP_SPAN, period * LOOP_REPEATS) - period
        run = 0
        for now, before in zip(codes[period:], codes, strict=False):
            run = run + 1 if now == before else 0
            if run >= need:
                return True
    return False
