"""The rerank stage: phones and candidates -> the best candidate by its codes, with every score."""

from __future__ import annotations

import torch

from stages.core import checkpoint, symbols
from stages.core.stage import Item
from stages.core.types import Candidates, Phonemes, Pick, RankedCodes
from stages.rerank.config import SPEC, RerankConfig
from stages.rerank.judges import JUDGES, gather
from stages.rerank.model import RerankModelConfig, RerankTowers


class RerankStage:
    """Adds up the judges' weighted scores and takes the highest."""

    SPEC = SPEC

    def __init__(self, config: RerankConfig, towers: RerankTowers, device: str) -> None:
        self.config, self.towers, self.device = config, towers, device

    @classmethod
    def load(cls, config: RerankConfig, device: str) -> RerankStage:
        """Reads the checkpoint. Raises CheckpointError when it does not fit."""
        found = checkpoint.read(config.checkpoint, SPEC.name)
        checkpoint.require(found, "symbols", symbols.DIGEST, "was trained on another phone table")
        towers = RerankTowers(checkpoint.model_config(found, RerankModelConfig))
        checkpoint.load_strict(towers, found)
        return cls(config, towers.eval().to(device), device)

    @torch.inference_mode()
    def run(self, batch: list[Item], *, seeds: list[int]) -> list[RankedCodes]:
        """The chosen codes of each item, those of its `Pick` where it has one; nothing is random."""
        return [self._rank(item[Phonemes], item[Candidates], item.get(Pick)) for item in batch]

    def _rank(self, phonemes: Phonemes, candidates: Candidates, pick: Pick | None) -> RankedCodes:
        weights = {name: weight for name, weight in self.config.judges.items() if name in JUDGES}  # the rest listen
        scores: dict[str, tuple[float, ...]] = {}
        if weights:
            evidence = gather(self.towers, torch.tensor(symbols.ids(phonemes.symbols), device=self.device), candidates)
            scores = {name: tuple(JUDGES[name](evidence)) for name in weights}
        total = [sum(w * scores[name][k] for name, w in weights.items()) for k in range(len(candidates.items))]
        chosen = pick.candidate if pick else max(range(len(total)), key=total.__getitem__)
        best = candidates.items[chosen]
        return RankedCodes(best.codes, chosen, {**scores, "total": tuple(total)}, best.faults)
