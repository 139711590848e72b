"""Which utterances train and which validate: by a hash of speaker and id, so that a corpus can grow."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from stages.core.config import ConfigError, near_miss

TRAIN, VALID = "train", "valid"


@dataclass(frozen=True)
class SplitConfig:
    """How a corpus is split."""

    share: float = 0.01
    """of every speaker's utterances, held out for validation"""
    seed: int = 0
    speakers: tuple[str, ...] = ()
    """speakers who are held out altogether"""

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ValueError(f"share is {self.share}; give the part of the utterances to validate with, 0 to below 1")


def place(id: str, speaker: str, seed: int = 0) -> float:
    """A number in [0, 1) that depends on nothing but the arguments; no two pairs of names are joined to the same."""
    hashed = hashlib.sha256("\0".join((str(seed), speaker, id)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(hashed[:8], "big") / 2.0**64


def split_of(id: str, speaker: str, share: float = 0.01, seed: int = 0) -> str:
    """`train` or `valid` of one utterance, whatever else the corpus holds."""
    return VALID if place(id, speaker, seed) < share else TRAIN


def split(utterances: Sequence[tuple[str, str]], config: SplitConfig) -> list[str]:
    """`train` or `valid` of every (id, speaker), in order.

    Every utterance goes where `split_of` puts it, except that
    - a speaker with at least 0.5 / share utterances has one in `valid` (the one that hashes lowest),
    - every speaker with utterances has one in `train` (the one that hashes highest),
    - a corpus of two or more has one in `valid` (the lowest of the speakers who can spare it).
    So utterances added later move none of the others, except one that was put somewhere by these rules: it goes back
    when another takes its place.

    Raises:
        ConfigError: a speaker to hold out who is not in the corpus, or all speakers are held out.
    """
    speakers = {speaker for _, speaker in utterances}
    for name in config.speakers:
        if utterances and name not in speakers:
            raise ConfigError(f"split.speakers: the corpus has no speaker {name!r}{near_miss(name, speakers)}")
    if speakers and speakers <= set(config.speakers):
        raise ConfigError("split.speakers holds out every speaker of the corpus; leave some to train with")
    places = [place(id, speaker, config.seed) for id, speaker in utterances]
    groups: dict[str, list[int]] = {}
    for number, (_, speaker) in enumerate(utterances):
        groups.setdefault(speaker, []).append(number)
    out = [TRAIN] * len(utterances)
    for speaker, group in groups.items():
        held = group if speaker in config.speakers else _held(group, places, config.share)
        for number in held:
            out[number] = VALID
    spare = [n for name, g in groups.items() if name not in config.speakers and len(g) > 1 for n in g]
    if VALID not in out and config.share > 0 and len(out) > 1:
        out[min(spare or range(len(out)), key=lambda n: (places[n], utterances[n]))] = VALID
    return out


def _held(group: list[int], places: list[float], share: float) -> list[int]:
    order = sorted(group, key=lambda n: places[n])
    held = [n for n in order if places[n] < share]
    if not held and share > 0 and len(group) >= 0.5 / share:
        held = order[:1]
    return held if len(held) < len(group) else order[:-1]
