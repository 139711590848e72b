"""The one way that a stage is run on sentences: in `say`, in the Prefect flow, in worker processes and on Ray.

Only what the store lacks is computed. A sentence is claimed before it is computed, so that processes which share a
store share the work; what another process holds is left to it and named in the report.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stages.core.artifacts import ArtifactStore
from stages.core.checkpoint import CheckpointError
from stages.core.config import ConfigError, to_plain
from stages.core.fingerprint import digest
from stages.core.reports import StageReport
from stages.core.route import Node, Route
from stages.core.stage import Item, NothingToSay
from stages.core.types import Audio, Candidate, Candidates, Choice, Heard, Mel, Phonemes, Pick, RankedCodes, Voice
from stages.core.units import Document, Stop, Unit, choice_key, needed, shards, with_more

log = logging.getLogger("caretta.pipeline")
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""seconds between looks at what another process computes"""


@dataclass(frozen=True)
class _Job:
    """One sentence that a stage must compute, and which of its pieces are missing."""

    unit: Unit
    items: list[Item]
    """one, or one per missing piece where each candidate goes its own way"""
    missing: list[int]


def run_stage(
    route: Route,
    index: int,
    units: Sequence[Unit],
    store: ArtifactStore,
    stopped: dict[str, Stop],
    device: str = "cpu",
) -> StageReport:
    """Runs one stage for those of `units` that lack its result, but for those that somebody else is computing.

    In a route that listens, the last stage has the stages before it run again for sentences that none of their
    candidates is good enough for, with further candidates, up to `rerank.retries` times.

    Args:
        stopped: units that earlier stages gave up; they are left alone and stay in the report.

    Raises:
        StoreError, CheckpointError, ConfigError, OSError: not a fault of an item; nothing more can be run.
    """
    report = _run_round(route, index, units, store, stopped, device)
    while report.unmet:
        units = [with_more(route, unit) for unit in units if unit.key in report.unmet]
        for earlier in range(index):  # no claim is held here: they may wait for another process
            run = functools.partial(_run_round, route, earlier, store=store, stopped=report.stopped, device=device)
            inner = run_until_done(run, units)
            inner.hits = 0  # a second look is not a second hit
            report.inner.append(inner)
            report.stopped.update(inner.stopped)
        held = report.held
        report.absorb(_run_round(route, index, units, store, report.stopped, device))
        report.held |= held
    return report


def _run_round(
    route: Route, index: int, units: Sequence[Unit], store: ArtifactStore, stopped: dict[str, Stop], device: str
) -> StageReport:
    """`run_stage` with the candidates that the units have."""
    node = route.nodes[index]
    report = StageReport(node.spec.name, stopped=dict(stopped))
    going = [unit for unit in units if unit.key not in stopped]
    have = store.present({key for unit in going for step in unit.steps[index:] for key in step.keys})
    waiting: list[tuple[Unit, list[int]]] = []
    for unit in going:
        missing = _missing(unit, index, have) if index in needed(route, unit, have) else []
        report.hits += len(unit.steps[index].keys) - len(missing)
        if missing:
            waiting.append((unit, missing))
    held: set[str] = set()
    pieces = max((len(missing) for _, missing in waiting), default=1) if index in route.takes else 1
    for group in shards(waiting, max(1, node.spec.batch // pieces)):
        with contextlib.ExitStack() as claims:
            jobs = list(_claimed_jobs(route, index, group, store, claims, report, held))
            if jobs:
                _compute(route, index, jobs, store, report, device)
    report.held = frozenset(held)
    return report


def run_until_done(run: Callable[[Sequence[Unit]], StageReport], units: Sequence[Unit]) -> StageReport:
    """Calls `run` again for the units that another process holds, until nothing is held; pauses grow in between.

    Nothing is held by the caller meanwhile, so two runs cannot wait for each other.
    """
    total = run(units)
    pause, waited = FIRST_PAUSE, 0.0
    while total.held:
        time.sleep(pause)
        waited += pause
        pause = min(pause * 1.5, LONGEST_PAUSE)
        if waited > 60.0:
            log.warning("%s: another process is still computing %d sentences", total.stage, len(total.held))
            waited = 0.0
        total.absorb(run([unit for unit in units if unit.key in total.held]))
    return total


def _missing(unit: Unit, index: int, have: Container[str]) -> list[int]:
    return [i for i, key in enumerate(unit.steps[index].keys) if key not in have]


def _claimed_jobs(
    route: Route,
    index: int,
    group: Sequence[tuple[Unit, list[int]]],
    store: ArtifactStore,
    claims: contextlib.ExitStack,
    report: StageReport,
    held: set[str],
) -> Iterator[_Job]:
    """Those of a group that are ours to compute now; claims are released when `claims` closes."""
    ours = []
    for unit, missing in group:
        claim = store.claim(unit.steps[index].keys[0])  # a sentence's candidates are sampled by one process
        if claim is None:
            held.add(unit.key)
            report.hits -= len(unit.steps[index].keys) - len(missing)  # counted when it is looked at again
        else:
            claims.enter_context(claim)
            ours.append((unit, missing))
    # what was there a moment ago may have been computed between the look and the claim
    have = store.present({unit.steps[index].keys[i] for unit, missing in ours for i in missing})
    voices: dict[str, Voice | None] = {}  # read once per group, and one object, so that a stage may condition once
    for unit, missing in ours:
        left = [i for i in missing if unit.steps[index].keys[i] not in have]
        report.hits += len(missing) - len(left)
        pieces = left if index in route.takes else left[:1]
        items = [item for i in pieces if (item := _inputs(route, index, unit, store, voices, i)) is not None]
        if any(isinstance(value, Phonemes) and not value.words for item in items for value in item.values()):
            report.stopped[unit.key] = ("unspoken", "nothing in it can be spoken")
        elif items and len(items) == len(pieces):
            yield _Job(unit, items, left)


def _compute(
    route: Route, index: int, jobs: list[_Job], store: ArtifactStore, report: StageReport, device: str
) -> None:
    """Runs a stage on a group and stores the results; an item that fails is noted, the rest go on."""
    node = route.nodes[index]
    stage, lock, load_seconds = resident(node, device)
    report.load_seconds += load_seconds
    with lock:  # one group at a time in a model; other stages run beside it
        start = time.perf_counter()
        outcomes = _run_or_split(stage, node, index, jobs)
        seconds = time.perf_counter() - start
    report.seconds += seconds
    results: dict[str, Any] = {}
    for job, outcome in zip(jobs, outcomes, strict=True):
        if not isinstance(outcome, list):
            report.stopped[job.unit.key] = outcome
            continue
        report.work += len(job.unit.text) * len(job.missing)
        report.spent[job.unit.key] = seconds / len(jobs)
        if node.spec.gathers:
            settled = _settled(route, job.unit, outcome[0], store, report)
        else:
            keys = job.unit.steps[index].keys
            settled = {keys[i]: value for i, value in zip(job.missing, outcome, strict=True)}
        report.calls += len(job.missing) * bool(settled)
        results.update(settled)
    store.put_many(results)


def _settled(route: Route, unit: Unit, choice: Choice, store: ArtifactStore, report: StageReport) -> dict[str, Any]:
    """The choice and the chosen sound by key; nothing when there shall be further candidates, which is noted."""
    if choice.met is False and unit.pick is None and unit.more < route.retries:
        report.unmet |= {unit.key}
        return {}
    source = route.source(len(route.nodes) - 1, Audio)
    sound = store.get(Audio, unit.steps[source].keys[choice.chosen])
    if sound is None:  # damaged just now: it is made again when what is missing is looked for
        return {}
    return {choice_key(unit.key): replace(choice, retries=unit.more), unit.key: sound}


def _run_or_split(stage: Any, node: Node, index: int, jobs: list[_Job]) -> list[list[Any] | Stop]:
    """A list of values, or why there is none, for each job; when a batch fails, each of its items is tried alone."""
    seeds = [[job.unit.steps[index].seeds[i] for i in job.missing] for job in jobs]
    try:
        if node.spec.fans_out:
            outputs = [list(out) for out in stage.run([dict(job.items[0]) for job in jobs], seeds=seeds)]
        else:
            flat = [(dict(item), s) for job, own in zip(jobs, seeds, strict=True)
                    for item, s in zip(job.items, own, strict=True)]  # fmt: skip
            raw = iter([out for part in shards(flat, node.spec.batch) for out in _run_part(stage, part)])
            outputs = [list(itertools.islice(raw, len(own))) for own in seeds]
        return [_checked(node, out, len(s)) for out, s in zip(outputs, seeds, strict=True)]
    except NothingToSay as error:
        if len(jobs) == 1 and node.spec.gives is Phonemes:  # kept, so that the next run knows it without asking
            return [[Phonemes(jobs[0].unit.text, (), (), (jobs[0].unit.text,))]]
        if len(jobs) == 1:
            return [("unspoken", str(error))]
    except (OSError, CheckpointError, ConfigError):
        raise  # the machine's fault or the configuration's, not an item's
    except Exception as error:  # any fault of a model on one item must not stop the others
        if len(jobs) == 1:
            log.debug("%s failed on %r", node.spec.name, jobs[0].unit.text[:80], exc_info=True)
            return [("failed", f"{node.spec.name}: {' '.join(str(error).split()) or type(error).__name__}")]
    return [outcome for job in jobs for outcome in _run_or_split(stage, node, index, [job])]


def _run_part(stage: Any, part: Sequence[tuple[Item, int]]) -> list[Any]:
    found = list(stage.run([item for item, _ in part], seeds=[seed for _, seed in part]))
    if len(found) != len(part):
        raise ValueError(f"gave {len(found)} results for {len(part)} items")
    return found


def _checked(node: Node, values: list[Any], wanted: int) -> list[Any]:
    """The values of one item. Raises ValueError when they are not what the stage promises."""
    kind = Choice if node.spec.gathers else Candidate if node.spec.gives is Candidates else node.spec.gives
    if len(values) != wanted or not all(isinstance(value, kind) for value in values):
        raise ValueError(f"promised {wanted} {kind.__name__}, gave {[type(v).__name__ for v in values]}")
    for value in values:
        array = value.samples if isinstance(value, Audio) else value.frames if isinstance(value, Mel) else None
        if array is not None and not (array.size and np.isfinite(array).all()):
            raise ValueError(f"gave a {kind.__name__} that is empty or holds values that are not numbers")
        if isinstance(value, Heard) and not all(map(math.isfinite, value.measures.values())):
            raise ValueError(f"measured {value.measures}: not all of them are numbers")
    return values


def _inputs(
    route: Route, index: int, unit: Unit, store: ArtifactStore, voices: dict[str, Voice | None], piece: int = 0
) -> Item | None:
    """What a stage needs for one sentence, read from the store; None when something is not there (yet).

    Args:
        piece: the candidate, where each goes its own way.
    """
    spec = route.nodes[index].spec
    item: Item = {Pick: Pick(unit.pick)} if unit.pick is not None and index == route.picker else {}
    for kind in route.reads(index):
        if kind is Voice and unit.voice not in voices:
            voices[unit.voice] = store.get(Voice, unit.voice)
        if spec.gathers and kind is Audio:
            continue  # of all of them only the chosen one is read
        given = {str: unit.text, Voice: voices.get(unit.voice)}
        item[kind] = given[kind] if kind in given else _value(route, index, kind, unit, store, piece)
        if item[kind] is None:
            return None
    return item


def _value(route: Route, index: int, kind: type, unit: Unit, store: ArtifactStore, piece: int) -> Any:
    source = route.source(index, kind)
    keys = unit.steps[source].keys
    if kind is Candidates:
        candidates = _every(store, Candidate, keys)
        return None if candidates is None else Candidates(candidates)
    if index in route.takes and kind is RankedCodes:  # not the one that was ranked first: each
        candidate = store.get(Candidate, keys[piece])
        return None if candidate is None else RankedCodes(candidate.codes, 0, faults=candidate.faults)
    if source in route.takes:
        return store.get(kind, keys[piece]) if index in route.takes else _every(store, kind, keys)
    return store.get(kind, keys[0])


def _every(store: ArtifactStore, kind: type, keys: Sequence[str]) -> tuple[Any, ...] | None:
    found: dict[str, Any] = store.get_many(kind, keys)
    return tuple(found[key] for key in keys) if len(found) == len(set(keys)) else None


def keep_voices(documents: Iterable[Document], waiting: Container[str], store: ArtifactStore) -> None:
    """Puts into the store the voices that sentences still to be computed need."""
    voices = {d.voice.digest: d.voice for d in documents if any(u.key in waiting for u in d.units)}
    for key, voice in voices.items():
        if store.get(Voice, key) is None:
            store.put(key, voice)


_residents: dict[str, tuple[Any, threading.Lock]] = {}
_loading = threading.Lock()


def resident(node: Node, device: str) -> tuple[Any, threading.Lock, float]:
    """The loaded stage (once per process), the lock under which it runs, and the seconds that loading took just now."""
    key = digest([node.target, to_plain(node.config), node.weights, device])
    with _loading:
        if key in _residents:
            return (*_residents[key], 0.0)
        start = time.perf_counter()
        module, _, name = node.target.partition(":")
        # torch reads it when it is imported: decoding, bound by memory, is a fifteenth faster on huge pages
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
        try:
            kind = getattr(importlib.import_module(module), name)
            _use_one_thread()
            stage = kind.load(node.config, device)
        except (
            RuntimeError,
            AssertionError,
            NotImplementedError,
        ) as error:  # what torch raises for a device that is not there
            reason = " ".join(str(error).split())[:200]
            mend = "" if device == "cpu" else "; try --set device=cpu"
            raise ConfigError(
                f"stage {node.spec.name!r} cannot be loaded on device {device!r} ({reason}){mend}"
            ) from None
        _residents[key] = (stage, threading.Lock())
        return (*_residents[key], time.perf_counter() - start)


def _use_one_thread() -> None:
    """One torch thread per worker.

    Models this small only wait for more, workers side by side would fight for the cores, and a sum that is split over
    the cores of one machine rounds differently on another.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
