"""Runs a route over sentences: keys first, then only the stages whose results are missing. No torch, no Prefect.

A text is a `Document` of `Unit`s (sentences). A unit's `Step`s hold the key of everything on its way, computed from its
text, voice, seed and the route alone. `run_stage_on_items` is the one way that a stage is run, in-process and in the
flow alike; values go through the store, so that what one process computed another finds.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import logging
import platform
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from stages.core.artifacts import ArtifactStore, MemoryStore
from stages.core.checkpoint import CheckpointError
from stages.core.config import ConfigError, to_plain
from stages.core.fingerprint import digest, item_key
from stages.core.route import Node, Route, check_checkpoints
from stages.core.seeding import item_seed
from stages.core.stage import Item, NothingToSay
from stages.core.types import Audio, Candidate, Candidates, Mel, Phonemes, RankedCodes, Voice

log = logging.getLogger("caretta.pipeline")
SPLITTER = "stages.text.sentences:split_sentences"
DTYPE = "float32"
_ATTEMPTS = 3  # a damaged entry is noticed when it is read; the plan is then made again

Stop = tuple[Literal["unspoken", "failed"], str]
"""Why a unit goes no further: nothing to say in it, or an error; and the sentence that says so."""
Progress = Callable[[int, int], None]
"""(sentences finished, sentences in all)"""


@dataclass(frozen=True)
class Step:
    """One stage's part in one sentence: a key and a seed, or one of each per candidate."""

    keys: tuple[str, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Unit:
    """One sentence with the key of everything on its way."""

    text: str
    voice: str
    """digest of the voice, which is also its key in the store"""
    steps: tuple[Step, ...]

    @property
    def key(self) -> str:
        """The key of its audio."""
        return self.steps[-1].keys[0]


@dataclass(frozen=True, eq=False)
class Document:
    """One text: paragraphs of sentences, spoken by one voice."""

    text: str
    voice: Voice
    seed: int
    paragraphs: tuple[tuple[Unit, ...], ...]

    @property
    def units(self) -> list[Unit]:
        """Its sentences in order."""
        return [unit for paragraph in self.paragraphs for unit in paragraph]


@dataclass
class StageReport:
    """What one stage did on a shard; `calls` and `hits` count pieces (candidates, where a stage fans out)."""

    stage: str
    calls: int = 0
    hits: int = 0
    seconds: float = 0.0
    load_seconds: float = 0.0
    stopped: dict[str, Stop] = field(default_factory=dict)
    """by unit key, what was known before included"""
    spent: dict[str, float] = field(default_factory=dict)
    """seconds by unit key"""


@dataclass
class RunReport:
    """What a run did, by stage."""

    stage_calls: dict[str, int] = field(default_factory=dict)
    cache_hits: dict[str, int] = field(default_factory=dict)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    load_seconds: float = 0.0
    stopped: dict[str, Stop] = field(default_factory=dict)
    spent: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, report: StageReport) -> None:
        """Counts what a stage did on a shard."""
        for name, value in (
            ("stage_calls", report.calls),
            ("cache_hits", report.hits),
            ("stage_seconds", report.seconds),
        ):
            total: dict[str, Any] = getattr(self, name)
            total[report.stage] = total.get(report.stage, 0) + value
        self.load_seconds += report.load_seconds
        self.stopped.update(report.stopped)
        for key, seconds in report.spent.items():
            self.spent.setdefault(key, {})[report.stage] = round(seconds, 6)


@dataclass(frozen=True, eq=False)
class Result:
    """What became of one text. With an error there may still be audio: of the sentences that did not fail."""

    text: str
    audio: Audio | None
    error: str | None
    key: str
    """digest over the audio keys and pauses"""
    sentences: tuple[dict[str, Any], ...] = ()
    """lineage record of every sentence in `audio`, in order"""
    unspoken: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    """(sentence, error)"""

    @property
    def faults(self) -> list[str]:
        """Faults of the chosen candidates, one per kind, in order."""
        return list(dict.fromkeys(fault for record in self.sentences for fault in record["faults"]))


class Pipeline:
    """A checked route, ready to plan and to run.

    Raises (at construction):
        CheckpointError: weights that are missing or were not trained for each other.
    """

    def __init__(self, route: Route, split: Callable[[str], list[str]] | None = None):
        check_checkpoints(route)
        self.route = route
        self.report = RunReport()
        self._split = split

    def document(self, text: str, voice: Voice, seed: int) -> Document:
        """Splits a text into paragraphs (at blank lines) and sentences, and computes every key."""
        split = self._split or splitter()
        paragraphs = [split(paragraph) for paragraph in re.split(r"\n[ \t\r]*\n", text.replace("\r\n", "\n"))]
        units = tuple(
            tuple(self.unit(s, voice.digest, seed) for s in sentences if s.strip()) for sentences in paragraphs
        )
        return Document(text, voice, seed, tuple(u for u in units if u))

    def unit(self, text: str, voice: str, seed: int) -> Unit:
        """The keys and seeds of one sentence. Raises CheckpointError when weights cannot be read."""
        known: dict[type, str] = {str: digest(text), Voice: voice}
        steps: list[Step] = []
        for node in self.route.nodes:
            step = make_step(node, [known[kind] for kind in node.spec.needs], seed)
            known[node.spec.gives] = step.keys[0] if not node.spec.fans_out else digest(list(step.keys))
            steps.append(step)
        return Unit(text, voice, tuple(steps))

    def needed(self, unit: Unit, store: ArtifactStore) -> set[int]:
        """Which stages (by index) must run for `unit`: those whose result is missing and is on the way to the audio."""
        wanted, needed = {len(self.route.nodes) - 1}, set()
        for index in reversed(range(len(self.route.nodes))):
            if index in wanted and not all(map(store.has, unit.steps[index].keys)):
                needed.add(index)
                wanted.update(self.source(index, kind) for kind in self.route.nodes[index].spec.needs)
        return needed

    def source(self, index: int, kind: type) -> int:
        """Index of the stage whose `kind` the stage at `index` reads; -1 for the text and the voice."""
        earlier = (i for i in reversed(range(index)) if self.route.nodes[i].spec.gives is kind)
        return next(earlier, -1)

    def open_units(self, documents: Iterable[Document], store: ArtifactStore) -> list[Unit]:
        """The distinct sentences without audio that are worth running: not those known to hold nothing to say."""
        units = {unit.key: unit for document in documents for unit in document.units}
        return [u for u in units.values() if not store.has(u.key) and not self._is_silent(u, store)]

    def _is_silent(self, unit: Unit, store: ArtifactStore) -> bool:
        for node, step in zip(self.route.nodes, unit.steps, strict=True):
            if node.spec.gives is Phonemes:
                phonemes = store.get(Phonemes, step.keys[0])
                return phonemes is not None and not phonemes.words
        return False

    def run(
        self,
        texts: Sequence[str],
        voice: Voice,
        seed: int,
        store: ArtifactStore | None = None,
        progress: Progress | None = None,
    ) -> list[Result]:
        """Speaks every text; one that cannot be spoken has its error in its result and does not stop the others.

        Raises:
            StoreError, CheckpointError: nothing can be run at all.
        """
        store = MemoryStore() if store is None else store
        documents = [self.document(text, voice, seed) for text in texts]
        self.compute(documents, store, progress)
        return [self.result(document, store) for document in documents]

    def compute(self, documents: Sequence[Document], store: ArtifactStore, progress: Progress | None = None) -> None:
        """Runs in-process whatever is missing, shard by shard, so that a kill loses at most one stage of one shard."""
        units = {unit.key: unit for document in documents for unit in document.units}
        waiting = {u.key for u in self.open_units(documents, store)}
        self.count_cached([u for u in units.values() if u.key not in waiting])
        keep_voices(documents, waiting, store)
        todo, total = sorted((units[k] for k in waiting), key=lambda u: len(u.text)), len(waiting)
        for attempt in range(_ATTEMPTS):
            for shard in shards(todo, self.route.shard):
                for index in range(len(self.route.nodes)):
                    report = run_stage_on_items(self, index, shard, store, self.report.stopped)
                    report.hits *= attempt == 0  # a second look is not a second hit
                    self.report.add(report)
                if progress and attempt == 0:
                    progress(len(shard), total)
            todo = [u for u in todo if u.key not in self.report.stopped and not store.has(u.key)]

    def count_cached(self, units: Sequence[Unit]) -> None:
        """Counts sentences that need nothing as hits of every stage."""
        for index, node in enumerate(self.route.nodes):
            self.report.add(StageReport(node.spec.name, hits=sum(len(u.steps[index].keys) for u in units)))

    def result(self, document: Document, store: ArtifactStore) -> Result:
        """Joins a document's sentences from the store; what is missing or damaged is computed first."""
        pieces: list[list[Audio]] = []
        records, unspoken, failed = [], [], []
        for paragraph in document.paragraphs:
            pieces.append([])
            for unit in paragraph:
                audio = self._audio(document, unit, store)
                if audio is not None:
                    pieces[-1].append(audio)
                    records.append(self._record(document, unit, audio, store))
                    unspoken += records[-1]["unspoken"]
                elif self.report.stopped[unit.key][0] == "unspoken":
                    unspoken.append(unit.text)
                else:
                    failed.append((unit.text, self.report.stopped[unit.key][1]))
        joined = join(pieces, self.route) if records else None
        key = digest(
            [[[u.key for u in p] for p in document.paragraphs], self.route.pauses.sentence, self.route.pauses.paragraph]
        )
        return Result(
            document.text, joined, _error(joined, failed), key, tuple(records), tuple(unspoken), tuple(failed)
        )

    def _audio(self, document: Document, unit: Unit, store: ArtifactStore) -> Audio | None:
        """A sentence's audio; None (with the reason in `report.stopped`) when there is none."""
        for _ in range(_ATTEMPTS):
            if unit.key in self.report.stopped:
                return None
            audio = store.get(Audio, unit.key) if store.has(unit.key) else None
            if audio is not None:
                return audio
            keep_voices([document], {unit.key}, store)
            for index in range(len(self.route.nodes)):
                report = run_stage_on_items(self, index, [unit], store, self.report.stopped)
                report.hits = 0  # counted before
                self.report.add(report)
        self.report.stopped.setdefault(
            unit.key, ("failed", f"{store.folder}: the cache does not keep what is written to it")
        )
        return None

    def _record(self, document: Document, unit: Unit, audio: Audio, store: ArtifactStore) -> dict[str, Any]:
        """The lineage record of a finished sentence, written once."""
        record = store.read_record(unit.key)
        if record is None:
            record = lineage(self, document, unit, audio, store)
            store.write_record(unit.key, record)
        return record


def run_stage_on_items(
    pipeline: Pipeline, index: int, units: Sequence[Unit], store: ArtifactStore, stopped: dict[str, Stop]
) -> StageReport:
    """Runs one stage for those of `units` that lack its result; the same function in `say` and in the Prefect flow.

    Args:
        stopped: units that earlier stages gave up; they are left alone and stay in the report.

    Raises:
        StoreError, CheckpointError, ConfigError, OSError: not a fault of an item; nothing more can be run.
    """
    node = pipeline.route.nodes[index]
    report = StageReport(node.spec.name, stopped=dict(stopped))
    batch: list[tuple[Unit, Item, list[int]]] = []
    voices: dict[str, Voice | None] = {}  # read once per shard, and one object, so that a stage may condition once
    for unit in units:
        if unit.key in stopped:
            continue
        step = unit.steps[index]
        missing = (
            [i for i, key in enumerate(step.keys) if not store.has(key)]
            if index in pipeline.needed(unit, store)
            else []
        )
        report.hits += len(step.keys) - len(missing)
        item = _inputs(pipeline, index, unit, store, voices) if missing else None
        if item is not None and any(isinstance(value, Phonemes) and not value.words for value in item.values()):
            report.stopped[unit.key] = ("unspoken", "nothing in it can be spoken")
        elif item is not None:
            batch.append((unit, item, missing))
    if batch:
        _compute(pipeline.route, node, index, batch, store, report)
    return report


def _compute(
    route: Route,
    node: Node,
    index: int,
    batch: list[tuple[Unit, Item, list[int]]],
    store: ArtifactStore,
    report: StageReport,
) -> None:
    """Runs a stage on the items that lack results and stores these; an item that fails is noted, the rest go on."""
    stage, lock, report.load_seconds = resident(node, route.device)
    with lock:  # one shard at a time in a model; other stages run beside it
        start = time.perf_counter()
        outcomes = _run_or_split(stage, node, index, batch)
        report.seconds = time.perf_counter() - start
    for (unit, _, missing), outcome in zip(batch, outcomes, strict=True):
        if not isinstance(outcome, list):
            report.stopped[unit.key] = outcome
            continue
        for candidate, value in zip(missing, outcome, strict=True):
            store.put(unit.steps[index].keys[candidate], value)
        report.calls += len(missing)
        report.spent[unit.key] = report.seconds / len(batch)


def _run_or_split(
    stage: Any, node: Node, index: int, batch: list[tuple[Unit, Item, list[int]]]
) -> list[list[Any] | Stop]:
    """A list of values, or why there is none, for each item; when a batch fails, each of its items is tried alone."""
    seeds = [[unit.steps[index].seeds[i] for i in missing] for unit, _, missing in batch]
    try:
        fans = node.spec.fans_out
        raw = stage.run([dict(item) for _, item, _ in batch], seeds=seeds if fans else [s[0] for s in seeds])
        outputs = [list(out) for out in raw] if fans else [[out] for out in raw]
        return [_checked(node, out, len(s)) for out, s in zip(outputs, seeds, strict=True)]
    except NothingToSay as error:
        if len(batch) == 1 and node.spec.gives is Phonemes:  # kept, so that the next run knows it without asking
            return [[Phonemes(batch[0][0].text, (), (), (batch[0][0].text,))]]
        if len(batch) == 1:
            return [("unspoken", str(error))]
    except (OSError, CheckpointError, ConfigError):
        raise  # the machine's fault or the configuration's, not an item's
    except Exception as error:  # any fault of a model on one item must not stop the others
        if len(batch) == 1:
            log.debug("%s failed on %r", node.spec.name, batch[0][0].text[:80], exc_info=True)
            return [("failed", f"{node.spec.name}: {' '.join(str(error).split()) or type(error).__name__}")]
    return [outcome for one in batch for outcome in _run_or_split(stage, node, index, [one])]


def _checked(node: Node, values: list[Any], wanted: int) -> list[Any]:
    """The values of one item. Raises ValueError when they are not what the stage promises."""
    kind = Candidate if node.spec.gives is Candidates else node.spec.gives
    if len(values) != wanted or not all(isinstance(value, kind) for value in values):
        raise ValueError(f"promised {wanted} {kind.__name__}, gave {[type(v).__name__ for v in values]}")
    for value in values:
        array = value.samples if isinstance(value, Audio) else value.frames if isinstance(value, Mel) else None
        if array is not None and not (array.size and np.isfinite(array).all()):
            raise ValueError(f"gave a {kind.__name__} that is empty or holds values that are not numbers")
    return values


def _inputs(
    pipeline: Pipeline, index: int, unit: Unit, store: ArtifactStore, voices: dict[str, Voice | None]
) -> Item | None:
    """What a stage needs for one sentence, read from the store; None when something is not there (yet)."""
    item: Item = {}
    for kind in pipeline.route.nodes[index].spec.needs:
        if kind is Voice and unit.voice not in voices:
            voices[unit.voice] = store.get(Voice, unit.voice)
        given = {str: unit.text, Voice: voices.get(unit.voice)}
        item[kind] = given[kind] if kind in given else _value(pipeline.source(index, kind), kind, unit, store)
        if item[kind] is None:
            return None
    return item


def _value(source: int, kind: type, unit: Unit, store: ArtifactStore) -> Any:
    keys = unit.steps[source].keys
    if kind is not Candidates:
        return store.get(kind, keys[0])
    items = [store.get(Candidate, key) for key in keys]
    return Candidates(tuple(i for i in items if i is not None)) if all(i is not None for i in items) else None


def make_step(node: Node, inputs: list[str], seed: int) -> Step:
    """Keys and seeds of one stage for one sentence, whose content is what the keys of its inputs say."""
    spec, content = node.spec, digest(inputs)
    count = node.config.candidates if spec.fans_out else 1
    seeds = tuple(item_seed(seed, spec.name, content, i) if spec.random else 0 for i in range(count))
    keys = tuple(
        item_key(
            stage=spec.name,
            version=spec.version,
            config=node.key_config,
            checkpoint=node.weights,
            inputs=inputs,
            seed=s,
            dtype=DTYPE,
        )
        for s in seeds
    )
    return Step(keys, seeds)


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
            raise ConfigError(
                f"stage {node.spec.name!r} cannot be loaded on device {device!r} ({reason}); try --set device=cpu"
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


def keep_voices(documents: Iterable[Document], waiting: set[str], store: ArtifactStore) -> None:
    """Puts into the store the voices that sentences still to be computed need."""
    voices = {d.voice.digest: d.voice for d in documents if any(u.key in waiting for u in d.units)}
    for key, voice in voices.items():
        if store.get(Voice, key) is None:
            store.put(key, voice)


def shards(units: Sequence[Unit], size: int) -> Iterator[Sequence[Unit]]:
    """Consecutive groups of at most `size`."""
    for start in range(0, len(units), size):
        yield units[start : start + size]


def join(paragraphs: list[list[Audio]], route: Route) -> Audio:
    """Sentences with silence between them (`route.pauses`). Raises ConfigError when the pieces' rates differ."""
    rates = {piece.sample_rate for pieces in paragraphs for piece in pieces}
    if len(rates) != 1:
        raise ConfigError(f"route {route.name!r}: its sentences have sample rates {sorted(rates)}; use one vocoder")
    (rate,) = rates
    parts: list[np.ndarray] = []
    for pieces in filter(None, paragraphs):
        for position, piece in enumerate(pieces):
            seconds = route.pauses.sentence if position else route.pauses.paragraph
            parts += [np.zeros(round(seconds * rate), np.float32)] if parts else []
            parts.append(piece.samples)
    return Audio(np.concatenate(parts), rate)


def lineage(pipeline: Pipeline, document: Document, unit: Unit, audio: Audio, store: ArtifactStore) -> dict[str, Any]:
    """Where a sentence's audio came from: text, keys, weights, seed, scores, timings, versions."""
    nodes = pipeline.route.nodes
    values = [_peek(node, step, store) for node, step in zip(nodes, unit.steps, strict=True)]
    phonemes = next((v for v in values if isinstance(v, Phonemes)), None)
    ranked = next((v for v in values if isinstance(v, RankedCodes)), None)
    return {
        "text": unit.text,
        "spoken": [word.spoken for word in phonemes.words] if phonemes else [],
        "unspoken": list(phonemes.unspoken) if phonemes else [],
        "voice": document.voice.name,
        "voice_digest": unit.voice,
        "seed": document.seed,
        "route": pipeline.route.name,
        "preset": pipeline.route.preset,
        "seconds_of_audio": audio.samples.size / audio.sample_rate,
        "stages": {
            node.spec.name: {
                "version": node.spec.version,
                "weights": node.weights,
                "config": node.key_config,
                "keys": list(step.keys),
            }
            for node, step in zip(nodes, unit.steps, strict=True)
        },
        "seconds": pipeline.report.spent.get(unit.key, {}),
        "chosen": ranked.chosen if ranked else None,
        "scores": {judge: list(scores) for judge, scores in ranked.scores.items()} if ranked else {},
        "faults": list(ranked.faults) if ranked else [],
        "versions": versions(),
    }


def _peek(node: Node, step: Step, store: ArtifactStore) -> Any:
    """A small intermediate value for the record; None when it is no longer kept."""
    return store.get(node.spec.gives, step.keys[0]) if node.spec.gives in (Phonemes, RankedCodes) else None


@functools.lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of what can change a result."""
    found = {"python": platform.python_version(), "numpy": np.__version__}
    for name in ("caretta", "torch"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def splitter() -> Callable[[str], list[str]]:
    module, _, name = SPLITTER.partition(":")
    return getattr(importlib.import_module(module), name)


def _error(audio: Audio | None, failed: list[tuple[str, str]]) -> str | None:
    if failed:
        sentence, reason = failed[0]
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        return f"{sentence[:60]!r}: {reason}{more}"
    return None if audio is not None else "nothing in the text can be spoken; give text with words or numbers"
