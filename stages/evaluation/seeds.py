"""Diversity of a system: the first sentences said again by other seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from stages.evaluation.bench import Bench, Output, sounding
from stages.evaluation.diversity import Diversity, diversity
from stages.evaluation.levels import NotMeasurable
from stages.evaluation.measures import Column, Score, at_rate

SENTENCES = 10
"""that are said again"""
COLUMNS = (
    Column("diversity_mcd", "diversity MCD dB"),
    Column("diversity_duration", "diversity of duration", digits=3, shown=False),
    Column("diversity_pitch", "diversity of ln F0", digits=3, shown=False),
)
"""means over the sentences of `Diversity.mcd`, `duration_cv` and `pitch_spread`; neither direction is better"""


def over_seeds(bench: Bench, run: Callable[[Bench], Output], seeds: int) -> dict[str, Score]:
    """Has a system say the first sentences by `seeds` seeds, its own among them, and tells how much they differ.

    A sentence that one of the seeds fails on has no diversity; a column that no sentence has says why.
    """
    sentences, rate = bench.sentences[:SENTENCES], bench.spec.sample_rate
    benches = [dataclasses.replace(bench, sentences=sentences, seed=bench.seed + n) for n in range(seeds)]
    readings = [[sounding(clip) for clip in run(each).clips] for each in benches]
    found: list[Diversity] = []
    reasons = [f"none of {len(sentences)} sentences has it"]
    for clips in zip(*readings, strict=True):
        try:
            found.append(diversity([None if c.audio is None else at_rate(c.audio, rate) for c in clips], bench.spec))
        except NotMeasurable as error:
            reasons.insert(0, str(error))
    fields = ("mcd", "duration_cv", "pitch_spread")
    return {c.name: _mean([getattr(d, f) for d in found], reasons[0]) for c, f in zip(COLUMNS, fields, strict=True)}


def _mean(values: Sequence[float | None], reason: str) -> Score:
    known = [value for value in values if value is not None]
    return Score(sum(known) / len(known)) if known else Score(None, reason)
