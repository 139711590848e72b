"""The whole chain, and the chain with another candidate in the place of the reranker's pick."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from stages.core.artifacts import ArtifactStore
from stages.core.config import ConfigError
from stages.core.lineage import choice_of
from stages.core.pipeline import Pipeline, shard_size
from stages.core.route import Node, Route
from stages.core.seeding import item_seed
from stages.core.types import Audio, Candidates, Phonemes, RankedCodes
from stages.core.units import Document, Unit, shards
from stages.evaluation.bench import Bench, Clip, Output
from stages.evaluation.intelligibility import count, normalise, transcribe
from stages.evaluation.speed import stage_speeds


def chain(bench: Bench) -> Output:
    """The whole chain."""
    pipeline = bench.pipeline()
    documents = _computed(bench, pipeline)
    return _spoken(bench, pipeline, documents, timed=True)


def random_pick(bench: Bench) -> Output:
    """The chain with a seeded random candidate in the place of the reranked one."""

    def pick(unit: Unit, candidates: int) -> int:
        return random.Random(item_seed(bench.seed, "evaluation.random", unit.key)).randrange(candidates)

    pipeline = bench.pipeline()
    documents = _computed(bench, pipeline)
    picked = [_mapped(d, lambda u: _pick_if_there(pipeline, bench, u, pick)) for d in documents]
    _finish(pipeline, [u for d in picked for u in d.units], bench.store)
    return _spoken(bench, pipeline, picked)


def oracle(bench: Bench) -> Output:
    """The chain with the candidate that is recognised best (ties: fewer character errors, then the reranked one)."""
    pipeline = bench.pipeline()
    documents = _computed(bench, pipeline)
    units = [u for d in documents for u in d.units if u.key not in pipeline.report.stopped]
    options = {u.key: _all_picks(pipeline, bench, u) for u in units}
    every = {o.key: o for picks in options.values() for o in picks}
    _finish(pipeline, list(every.values()), bench.store)
    sounds = [bench.store.get(Audio, key) for key in every]
    heard = dict(zip(every, transcribe(sounds, bench.recogniser, bench.workers, bench.store), strict=True))

    def best(unit: Unit) -> Unit:
        reference = _unit_reference(pipeline, unit, bench.store)
        if unit.key not in options or not reference:
            return unit
        scored = [(count(reference, heard[o.key]), o) for o in options[unit.key]]
        return min(scored, key=lambda pair: (pair[0].word_errors, pair[0].character_errors))[1]

    return _spoken(bench, pipeline, [_mapped(d, best) for d in documents])


def node_of(route: Route, kind: type) -> Node:
    """The stage that gives `kind`. Raises ConfigError when the route has none."""
    for node in reversed(route.nodes):
        if node.spec.gives is kind and not node.spec.gathers:  # the vocoder, not who chooses among its sounds
            return node
    raise ConfigError(f"route {route.name!r} has no stage that gives {kind.__name__}; leave that system out")


def repicked(pipeline: Pipeline, bench: Bench, unit: Unit, candidate: int) -> Unit:
    """`unit` with another of its candidates chosen; the reranker's own pick gives `unit` itself.

    Raises ConfigError when the store no longer has the reranker's choice.
    """
    choice = choice_of(pipeline.route, unit, bench.store)
    if choice is None:
        raise ConfigError(
            f"{bench.store.where}: the choice for {unit.text[:40]!r} is no longer in the cache; name an empty one "
            "with --set cache.dir=PATH"
        )
    if choice.chosen == candidate:
        return unit
    return pipeline.unit(unit.text, unit.voice, bench.seed, pick=candidate)


def _index_of(pipeline: Pipeline, kind: type) -> int:
    return pipeline.route.nodes.index(node_of(pipeline.route, kind))


def _computed(bench: Bench, pipeline: Pipeline) -> list[Document]:
    """Every sentence as a document whose sound is in the store."""
    documents = [pipeline.document(s.text, bench.voice, bench.seed) for s in bench.sentences]
    pipeline.compute(documents, bench.store, lambda units: bench.advance(len(units)))
    return documents


def _mapped(document: Document, change: Callable[[Unit], Unit]) -> Document:
    return replace(document, paragraphs=tuple(tuple(change(u) for u in p) for p in document.paragraphs))


def _all_picks(pipeline: Pipeline, bench: Bench, unit: Unit) -> list[Unit]:
    """`unit` with each of its candidates, the reranked one first."""
    count_ = len(unit.steps[pipeline.route.source(_index_of(pipeline, RankedCodes), Candidates)].keys)
    picks = [repicked(pipeline, bench, unit, index) for index in range(count_)]
    return sorted(picks, key=lambda u: u is not unit)


def _pick_if_there(pipeline: Pipeline, bench: Bench, unit: Unit, pick: Callable[[Unit, int], int]) -> Unit:
    if unit.key in pipeline.report.stopped:
        return unit
    source = pipeline.route.source(_index_of(pipeline, RankedCodes), Candidates)
    return repicked(pipeline, bench, unit, pick(unit, len(unit.steps[source].keys)))


def _finish(pipeline: Pipeline, units: Sequence[Unit], store: ArtifactStore) -> None:
    """Runs what is missing for units whose choice is made."""
    for shard in shards(units, shard_size(pipeline.route, len(units))):
        pipeline.run_shard(shard, store)


def _unit_reference(pipeline: Pipeline, unit: Unit, store: ArtifactStore) -> str:
    phonemes = store.get(Phonemes, unit.steps[_index_of(pipeline, Phonemes)].keys[0])
    return normalise(" ".join(w.spoken for w in phonemes.words)) if phonemes else ""


def _spoken(bench: Bench, pipeline: Pipeline, documents: Sequence[Document], timed: bool = False) -> Output:
    """The sound of every document; a sentence that failed is missing from it, and its error is told."""
    clips, seconds = [], {}
    for document in documents:
        result = pipeline.result(document, bench.store)
        clips.append(Clip(result.audio, result.error, faults=tuple(result.faults)))
        records = iter(result.sentences)
        for unit in document.units:
            if unit.key not in pipeline.report.stopped:
                seconds[unit.key] = float(next(records)["seconds_of_audio"])
    return Output(clips, stage_speeds(pipeline.report, seconds) if timed else [])
