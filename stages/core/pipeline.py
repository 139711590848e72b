"""Runs a route over texts: keys first, then only the stages whose results are missing. No torch, no Prefect.

A text is a `Document` of `Unit`s (sentences). A unit's `Step`s hold the key of everything on its way, computed from its
text, voice, seed and the route alone (`core/units.py`). Values go through the store (`core/execute.py`), so that what
one process computed another finds.
"""

from __future__ import annotations

import functools
import importlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.artifacts import ArtifactStore, MemoryStore
from stages.core.config import ConfigError
from stages.core.execute import keep_voices, run_stage, run_until_done
from stages.core.lineage import Record, document_record, lineage
from stages.core.reports import RunReport, StageReport
from stages.core.route import Route, check_checkpoints, check_voice
from stages.core.types import Audio, Candidates, Phonemes, Voice
from stages.core.units import Document, Unit, plan_unit, shards

SPLITTER = "stages.text.sentences:split_sentences"
_ATTEMPTS = 3  # a damaged entry is noticed when it is read; the plan is then made again

Advance = Callable[[Sequence[Unit]], None]
"""Is told of sentences that are finished: they have audio, or the report says why not."""


@dataclass(frozen=True, eq=False)
class Result:
    """What became of one text. With an error there may still be audio: of the sentences that did not fail."""

    text: str
    audio: Audio | None
    error: str | None
    key: str
    """that of the document"""
    sentences: tuple[Record, ...] = ()
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
        self._welcome: set[str] = set()
        """digests of the voices that it can speak in"""

    def document(
        self,
        text: str,
        voice: Voice,
        seed: int,
        title: str | None = None,
        picks: Mapping[int, int] | None = None,
    ) -> Document:
        """Splits a text into paragraphs (at blank lines) and sentences, and computes every key.

        Args:
            title: spoken before the text, with a longer pause after it.
            picks: sentence (from 0) -> candidate to take in the place of the judges' choice.

        Raises:
            ConfigError: a pick of a sentence or a candidate that there is not, a voice that the route cannot speak in.
        """
        if voice.digest not in self._welcome:
            check_voice(self.route, voice)
            self._welcome.add(voice.digest)
        split = self._split or splitter()
        parts = [title] if title else []
        parts += re.split(r"\n[ \t\r]*\n", text.replace("\r\n", "\n"))
        sentences = [[s for s in split(part) if s.strip()] for part in parts]
        wanted = dict(picks or {})
        number, paragraphs = 0, []
        for paragraph in filter(None, sentences):
            units = []
            for sentence in paragraph:
                units.append(self.unit(sentence, voice.digest, seed, wanted.pop(number, None)))
                number += 1
            paragraphs.append(tuple(units))
        if wanted:
            raise ConfigError(
                f"there is no sentence {min(wanted) + 1} in a text of {number}; pick one of 1 to {number}"
            )
        pauses = self.route.pauses
        return Document(
            text,
            voice,
            seed,
            tuple(paragraphs),
            headed=bool(title and sentences[0]),
            pauses=(pauses.sentence, pauses.paragraph, pauses.title),
        )

    def unit(self, text: str, voice: str, seed: int, pick: int | None = None) -> Unit:
        """The keys and seeds of one sentence. Raises CheckpointError when weights cannot be read."""
        more = 0 if pick is None else self._round_of(pick)
        return plan_unit(self.route, text, voice, seed, pick, more)

    def _round_of(self, pick: int) -> int:
        """The round of candidates in which a picked one is sampled. Raises ConfigError when it is in none."""
        each = next((n.config.candidates for n in self.route.nodes if n.spec.gives is Candidates), 0)
        count = each * (1 + self.route.retries)
        if self.route.picker is None:
            raise ConfigError(f"route {self.route.name!r} has no stage that chooses among candidates; pick nothing")
        if not 0 <= pick < count:
            raise ConfigError(f"there is no candidate {pick}: {count} are sampled; pick one of 0 to {count - 1}")
        return pick // int(each)

    def open_units(self, documents: Iterable[Document], store: ArtifactStore) -> list[Unit]:
        """The distinct sentences without audio that are worth running: not those known to hold nothing to say."""
        units = {unit.key: unit for document in documents for unit in document.units}
        have = store.present(set(units))
        lacking = [unit for key, unit in units.items() if key not in have]
        silent = self._silent(lacking, store)
        return [unit for unit in lacking if unit.key not in silent]

    def _silent(self, units: Sequence[Unit], store: ArtifactStore) -> set[str]:
        """Keys of the units of which the store knows that there is nothing to say in them."""
        at = next((i for i, node in enumerate(self.route.nodes) if node.spec.gives is Phonemes), None)
        if at is None:
            return set()
        have = store.present({unit.steps[at].keys[0] for unit in units})
        silent = set()
        for unit in units:
            phonemes = store.get(Phonemes, unit.steps[at].keys[0]) if unit.steps[at].keys[0] in have else None
            if phonemes is not None and not phonemes.words:
                silent.add(unit.key)
        return silent

    def run(
        self,
        texts: Sequence[str],
        voice: Voice,
        seed: int,
        store: ArtifactStore | None = None,
    ) -> list[Result]:
        """Speaks every text; one that cannot be spoken has its error in its result and does not stop the others.

        Raises:
            StoreError, CheckpointError: nothing can be run at all.
        """
        store = MemoryStore() if store is None else store
        documents = [self.document(text, voice, seed) for text in texts]
        self.compute(documents, store)
        return self.results(documents, store)

    def compute(self, documents: Sequence[Document], store: ArtifactStore, advance: Advance | None = None) -> None:
        """Runs in-process whatever is missing, shard by shard; what another process computes is left for the end."""
        units = {unit.key: unit for document in documents for unit in document.units}
        todo = sorted(self.open_units(documents, store), key=lambda u: len(u.text))  # like lengths together
        waiting = {u.key for u in todo}
        self.count_cached([u for u in units.values() if u.key not in waiting])
        keep_voices(documents, waiting, store)
        held: list[Unit] = []
        for shard in shards(todo, shard_size(self.route, len(todo))):
            elsewhere = self._run_shard(shard, store)
            held += [u for u in shard if u.key in elsewhere]
            if advance:
                advance([u for u in shard if u.key not in elsewhere])
        for shard in shards(held, shard_size(self.route, len(held))):
            self.run_shard(shard, store)
            if advance:
                advance(shard)
        self._mend(todo, store)

    def _mend(self, units: Sequence[Unit], store: ArtifactStore) -> None:
        """Computes again what is still missing: a damaged entry is noticed only when it is read."""
        for _ in range(_ATTEMPTS - 1):
            done = store.present({u.key for u in units})
            units = [u for u in units if u.key not in self.report.stopped and u.key not in done]
            for shard in shards(units, shard_size(self.route, len(units))):
                self.run_shard(shard, store, count_hits=False)  # a second look is not a second hit

    def _run_shard(self, units: Sequence[Unit], store: ArtifactStore) -> set[str]:
        """Runs what sentences lack, stage by stage; gives those that another process is at, and leaves them to it."""
        elsewhere: set[str] = set()
        for index in range(len(self.route.nodes)):
            report = self._run_stage(index, store, [u for u in units if u.key not in elsewhere])
            elsewhere |= report.held
            self.report.add(report)
        return elsewhere

    def run_shard(self, units: Sequence[Unit], store: ArtifactStore, count_hits: bool = True) -> None:
        """Runs in-process what sentences lack, stage by stage; waits for what another process computes."""
        for index in range(len(self.route.nodes)):
            report = run_until_done(functools.partial(self._run_stage, index, store), units)
            report.hits *= count_hits
            self.report.add(report)

    def _run_stage(self, index: int, store: ArtifactStore, units: Sequence[Unit]) -> StageReport:
        return run_stage(self.route, index, units, store, self.report.stopped, self.route.devices[0])

    def count_cached(self, units: Sequence[Unit]) -> None:
        """Counts sentences that need nothing as hits of every stage."""
        for index, node in enumerate(self.route.nodes):
            self.report.add(StageReport(node.spec.name, hits=sum(len(u.steps[index].keys) for u in units)))

    def result(self, document: Document, store: ArtifactStore) -> Result:
        """`results` of one document."""
        return self.results([document], store)[0]

    def results(self, documents: Sequence[Document], store: ArtifactStore) -> list[Result]:
        """Joins documents' sentences from the store; what is missing or damaged is computed first.

        The lineage records of finished sentences and documents are written together, and durable when this returns.
        """
        records: dict[str, Record] = {}
        results = [self._result(document, store, records) for document in documents]
        store.write_records(records)
        return results

    def _result(self, document: Document, store: ArtifactStore, new: dict[str, Record]) -> Result:
        pieces: list[list[Audio]] = []
        records, unspoken, failed = [], [], []
        for paragraph in document.paragraphs:
            pieces.append([])
            for unit in paragraph:
                audio = self._audio(document, unit, store)
                if audio is not None:
                    pieces[-1].append(audio)
                    records.append(self._record(document, unit, audio, store, new))
                    unspoken += records[-1]["unspoken"]
                elif self.report.stopped[unit.key][0] == "unspoken":
                    unspoken.append(unit.text)
                else:
                    failed.append((unit.text, self.report.stopped[unit.key][1]))
        joined = join(pieces, document) if records else None
        if joined is not None and len(document.units) > 1:
            new[document.key] = document_record(document)
        error = _error(joined, failed)
        return Result(document.text, joined, error, document.key, tuple(records), tuple(unspoken), tuple(failed))

    def _audio(self, document: Document, unit: Unit, store: ArtifactStore) -> Audio | None:
        """A sentence's audio; None (with the reason in `report.stopped`) when there is none."""
        for _ in range(_ATTEMPTS):
            if unit.key in self.report.stopped:
                return None
            audio = store.get(Audio, unit.key)
            if audio is not None:
                return audio
            keep_voices([document], {unit.key}, store)
            self.run_shard([unit], store, count_hits=False)  # they were counted before
        self.report.stopped.setdefault(
            unit.key, ("failed", f"{store.where}: the cache does not keep what is written to it")
        )
        return None

    def _record(
        self, document: Document, unit: Unit, audio: Audio, store: ArtifactStore, new: dict[str, Record]
    ) -> Record:
        """The lineage record of a finished sentence, made once."""
        record = new.get(unit.key) or store.read_record(unit.key)
        if record is None:
            record = new[unit.key] = lineage(self, document, unit, audio, store)
        return record


def shard_size(route: Route, sentences: int) -> int:
    """Sentences that go through a stage together: the route's wish, or about 12 shards of 16 to 128."""
    return route.shard or min(128, max(16, math.ceil(sentences / 12)))


def join(paragraphs: list[list[Audio]], document: Document) -> Audio:
    """Sentences with silence between them. Raises ConfigError when the pieces' rates differ."""
    rates = {piece.sample_rate for pieces in paragraphs for piece in pieces}
    if len(rates) != 1:
        raise ConfigError(f"the sentences of one text have sample rates {sorted(rates)}; use one vocoder")
    (rate,) = rates
    after_sentence, after_paragraph, after_title = document.pauses
    parts: list[np.ndarray] = []
    seconds = 0.0
    for number, pieces in enumerate(paragraphs):
        for piece in pieces:
            if parts:
                parts.append(np.zeros(round(seconds * rate), np.float32))
            parts.append(piece.samples)
            seconds = after_sentence
        if pieces:
            seconds = after_title if document.headed and number == 0 else after_paragraph
    return Audio(np.concatenate(parts), rate)


def splitter() -> Callable[[str], list[str]]:
    """The function that cuts a text into sentences."""
    module, _, name = SPLITTER.partition(":")
    found: Callable[[str], list[str]] = getattr(importlib.import_module(module), name)
    return found


def _error(audio: Audio | None, failed: list[tuple[str, str]]) -> str | None:
    if failed:
        sentence, reason = failed[0]
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        return f"{sentence[:60]!r}: {reason}{more}"
    return None if audio is not None else "nothing in the text can be spoken; give text with words or numbers"
