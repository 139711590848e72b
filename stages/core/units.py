"""What is planned: texts as documents of sentences, and the keys of all on a sentence's way. No torch, no weights."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from stages.core.fingerprint import digest, item_key
from stages.core.route import Node, Route
from stages.core.seeding import item_seed
from stages.core.types import RankedCodes, Voice

T = TypeVar("T")
DTYPE = "float32"

Stop = tuple[Literal["unspoken", "failed"], str]
"""Why a unit goes no further: nothing to say in it, or an error; and the sentence that says so."""


@dataclass(frozen=True)
class Step:
    """One stage's part in one sentence: a key and a seed, or one of each per candidate."""

    keys: tuple[str, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Unit:
    """One sentence with the key of everything on its way."""

    text: str
    voice: str
    """digest of the voice, which is also its key in the store"""
    steps: tuple[Step, ...]
    pick: int | None = None
    """the candidate that somebody chose in the judges' place"""
    seed: int = 0
    """of the run"""
    more: int = 0
    """how often further candidates were asked for; its key is the same with any number of them"""

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
    headed: bool = False
    """whether the first paragraph is a title"""
    pauses: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """seconds of silence after a sentence, a paragraph, a title"""

    @property
    def units(self) -> list[Unit]:
        """Its sentences in order."""
        return [unit for paragraph in self.paragraphs for unit in paragraph]

    @property
    def key(self) -> str:
        """The key of its sound: that of its only sentence, or a digest over the sentences' keys and the pauses."""
        units = self.units
        if len(units) == 1:
            return units[0].key
        return digest([[[u.key for u in p] for p in self.paragraphs], list(self.pauses), self.headed])


def plan_unit(route: Route, text: str, voice: str, seed: int, pick: int | None = None, more: int = 0) -> Unit:
    """The keys and seeds of one sentence.

    In a route that listens, what follows the candidates has a key per candidate, made of that candidate's and nothing
    of the others': more candidates, other judges or other weights leave it as it is.

    Args:
        voice: digest of the voice.
        more: further rounds of candidates.

    Raises:
        CheckpointError: weights that cannot be read.
    """
    known: dict[type, str] = {str: digest(text), Voice: voice}
    each: dict[type, list[str]] = {}  # by candidate
    steps: list[Step] = []
    for index, node in enumerate(route.nodes):
        spec, reads = node.spec, route.reads(index)
        if index in route.takes:
            inputs_of = [[each[k][i] if k in each else known[k] for k in reads] for i in range(len(each[RankedCodes]))]
            pieces = [make_step(node, inputs, seed) for inputs in inputs_of]
            step = Step(tuple(p.keys[0] for p in pieces), tuple(p.seeds[0] for p in pieces))
            each[spec.gives] = list(step.keys)
        else:
            inputs = [known[kind] if kind in known else digest(each[kind]) for kind in reads]
            if pick is not None and index == route.picker:
                inputs.append(digest(["pick", pick]))
            step = make_step(node, inputs, seed, 1 + more)
            known[spec.gives] = digest(list(step.keys)) if spec.fans_out else step.keys[0]
            if spec.fans_out:
                each[RankedCodes] = [digest(["take", key]) for key in step.keys]
        steps.append(step)
    return Unit(text, voice, tuple(steps), pick, seed, more)


def with_more(route: Route, unit: Unit) -> Unit:
    """`unit` with a further round of candidates beside those that it has: another reading by the same key."""
    more = plan_unit(route, unit.text, unit.voice, unit.seed, unit.pick, unit.more + 1)
    return replace(more, steps=(*more.steps[:-1], unit.steps[-1]))


def choice_key(key: str) -> str:
    """Where the `Choice` that gave a sound is kept, by the sound's key."""
    return digest(["choice", key])


def make_step(node: Node, inputs: list[str], seed: int, rounds: int = 1) -> Step:
    """Keys and seeds of one stage for one sentence, whose content is what the keys of its inputs say.

    Args:
        rounds: of candidates, where the stage gives some; those of the first do not depend on it.
    """
    spec, content = node.spec, digest(inputs)
    count = node.config.candidates * rounds if spec.fans_out else 1
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


def needed(route: Route, unit: Unit, have: Container[str]) -> set[int]:
    """Which stages (by index) must run for `unit`: those whose result is missing and is on the way to the audio.

    Args:
        have: keys that the store holds. For the question whether stage i must run, those from stage i on are enough.
    """
    wanted, found = {len(route.nodes) - 1}, set()
    for index in reversed(range(len(route.nodes))):
        if index in wanted and not all(key in have for key in unit.steps[index].keys):
            found.add(index)
            wanted.update(route.source(index, kind) for kind in route.reads(index))
    return found


def shards(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Consecutive groups of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
