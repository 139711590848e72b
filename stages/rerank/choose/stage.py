"""The choose stage: every candidate's scores by code and by ear -> the one whose sound is taken."""

from __future__ import annotations

from stages.core.stage import Item
from stages.core.types import Candidates, Choice, Heard, Pick, RankedCodes
from stages.rerank.choose.config import SPEC, ChooseConfig
from stages.rerank.listeners import LISTENERS

BELOW = "below_threshold"


class ChooseStage:
    """Adds up all judges' weighted scores and takes the highest, of those that are acceptable if there are any."""

    SPEC = SPEC

    def __init__(self, config: ChooseConfig) -> None:
        self.config = config

    @classmethod
    def load(cls, config: ChooseConfig, device: str) -> ChooseStage:
        """There is nothing to load."""
        return cls(config)

    def run(self, batch: list[Item], *, seeds: list[int]) -> list[Choice]:
        """A choice per item; `Heard` of an item is a tuple, by candidate. Nothing is random."""
        return [self._choose(item[Candidates], item[RankedCodes], item[Heard], item.get(Pick)) for item in batch]

    def _choose(
        self, candidates: Candidates, ranked: RankedCodes, heard: tuple[Heard, ...], pick: Pick | None
    ) -> Choice:
        weights = self.config.judges
        by_ear = {name: tuple(LISTENERS[name].score(heard)) for name in weights if name in LISTENERS}
        scores = {name: by_ear[name] if name in by_ear else ranked.scores[name] for name in weights}
        total = [sum(weight * scores[name][k] for name, weight in weights.items()) for k in range(len(heard))]
        good = self._acceptable(heard)
        among = [k for k, accepted in enumerate(good) if accepted] or range(len(heard))
        chosen = pick.candidate if pick else max(among, key=total.__getitem__)
        met = good[chosen] if self.config.accept else None
        faults = (*candidates.items[chosen].faults, *((BELOW,) if met is False else ()))
        return Choice(chosen, {**scores, "total": tuple(total)}, faults, met=met, transcript=heard[chosen].transcript)

    def _acceptable(self, heard: tuple[Heard, ...]) -> list[bool]:
        """By candidate, whether it passes every threshold."""
        passes = [LISTENERS[name].passes(heard, threshold) for name, threshold in self.config.accept.items()]
        return [all(each) for each in zip(*passes, strict=True)] if passes else [True] * len(heard)
