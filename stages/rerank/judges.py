"""Judges of candidates: each gives one score per candidate, higher is better. One function and one line in JUDGES each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stages.core.types import Candidates
from stages.rerank.model import RerankTowers

Judge = Callable[[RerankTowers, Tensor, Candidates], list[float]]
"""(towers, phones (1, P), candidates) -> K scores"""


def clip(towers: RerankTowers, phones: Tensor, candidates: Candidates) -> list[float]:
    """Cosine of text and speech embeddings times the learned scale; all K in one forward."""
    rows = [torch.from_numpy(c.codes.codes) for c in candidates.items]
    codes = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1).to(phones.device)
    return (towers.scale * (towers.embed_speech(codes) @ towers.embed_text(phones)[0])).tolist()


def log_prob(towers: RerankTowers, phones: Tensor, candidates: Candidates) -> list[float]:
    """The decoder's own mean log-probability per code, nats."""
    return [c.log_prob for c in candidates.items]


def faults(towers: RerankTowers, phones: Tensor, candidates: Candidates) -> list[float]:
    """Minus the number of faults the decoder marked."""
    return [-float(len(c.faults)) for c in candidates.items]


JUDGES: dict[str, Judge] = {"clip": clip, "log_prob": log_prob, "faults": faults}
