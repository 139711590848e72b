"""The one small interface every stage has, and what it needs and gives.

A stage is one folder with two files for the pipeline:

`config.py` (must not import torch: plans and cached runs read it) holds a frozen, strict config dataclass and `SPEC`, a
`StageSpec`: name, version (bump it when the same inputs should give different outputs), the types of `core/types.py`
that it needs and gives, and which config fields cannot change a result.

`stage.py` holds a class with

    load(config, device) -> Stage                        reads weights; slow
    run(batch, *, seeds) -> list[Out]                    batch[i] is a dict type -> value of every type in SPEC.needs

A stage that fans out (SPEC.fans_out) gets `seeds: list[list[int]]`, one seed per wanted candidate of each item, and
returns `list[list[Candidate]]`: a candidate depends on its item and its own seed, never on how many are asked for.
Outputs depend on the item and its seed alone, never on the rest of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from stages.core.types import Voice

Item = dict[type, Any]
"""What is known about one utterance so far: at most one value of each type."""


class NothingToSay(ValueError):
    """A sentence without anything that can be spoken (punctuation, emoji…): reported, never fatal to its neighbours."""


@dataclass(frozen=True)
class StageSpec:
    """What a pipeline must know of a stage to check a chain and compute keys, without weights and without torch."""

    name: str
    version: int
    """bump it when the same inputs should give different outputs"""
    config: type
    """the frozen dataclass; a field `checkpoint` (or `…_checkpoint`) names weights: their digest enters the key"""
    needs: tuple[type, ...]
    """`str` is the sentence itself, `Voice` the speaker; the rest comes from earlier stages"""
    gives: type
    fans_out: bool = False
    """one key, one stored entry and one seed per candidate; `config.candidates` says how many"""
    random: bool = True
    """False for a stage that draws nothing: its key then does not depend on the seed, and its seeds are 0"""
    result_free: tuple[str, ...] = ()
    """config fields that cannot change an item's bytes (batch sizes, the number of candidates)"""
    files: tuple[str, ...] = ()
    """config fields that name a file (or are None): its content enters the key in place of its path"""
    honours: tuple[type, ...] = ()
    """types that an item may hold beyond `needs` (a `Pick`); they enter the key of the item that holds them, and in a
    route it is the last stage to honour them that gets them"""
    accepts: tuple[type, ...] = ()
    """types that it reads as well where an earlier stage of the route gives them; a route without such a stage has the
    keys that it would have without this field"""
    content: Callable[[Any], dict[str, Any]] | None = None
    """gets a configuration; what enters the key in the place of the fields that it names, or beside them: the digest
    of a folder's content for its path"""
    gathers: bool = False
    """True for the last stage of a route that listens: it gets what each candidate gave, and gives a `Choice` of one
    (its item holds a tuple, by candidate, for every needed type that there is one of per candidate; no `Audio`)"""
    followers: Callable[[Any], dict[str, dict[str, Any]]] | None = None
    """stages (name -> section) that a configuration of this one puts at the end of the route"""
    check: Callable[[Any, Sequence[type]], None] | None = None
    """gets a configuration and what the stages before it give; raises ConfigError, before any work, for what its
    weights cannot do (read from their config.yaml, without torch)"""
    check_voice: Callable[[Any, Voice], None] | None = None
    """gets a configuration and a voice; raises ConfigError, before any work, for a voice that it cannot speak in"""
    batch: int = 32
    """items per call of `run`; no result depends on it"""
    device: Literal["cpu", "accelerator"] = "accelerator"
    """where it runs when the route has an accelerator"""
    memory_gb: float = 1.0
    """GiB that one call needs on an accelerator, weights included"""


class Stage(Protocol):
    """See the module's docstring."""

    SPEC: ClassVar[StageSpec]

    @classmethod
    def load(cls, config: Any, device: str) -> Stage: ...

    def run(self, batch: list[Item], *, seeds: list[Any]) -> list[Any]: ...
