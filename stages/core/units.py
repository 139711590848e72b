"""What is planned: texts as documents of sentences, and the keys of all on a sentence's way. No torch, no weights."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from stages.core.fingerprint import digest, item_key
from stages.core.route import Node, Route
from stages.core.seeding import item_seed
from stages.core.types import Voice

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


def needed(route: Route, unit: Unit, have: Container[str]) -> set[int]:
    """Which stages (by index) must run for `unit`: those whose result is missing and is on the way to the audio.

    Args:
        have: keys that the store holds. For the question whether stage i must run, those from stage i on are enough.
    """
    wanted, found = {len(route.nodes) - 1}, set()
    for index in reversed(range(len(route.nodes))):
        if index in wanted and not all(key in have for key in unit.steps[index].keys):
            found.add(index)
            wanted.update(route.source(index, kind) for kind in route.nodes[index].spec.needs)
    return found


def shards(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Consecutive groups of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
