"""Judges of candidates: a score per candidate each, higher is better. One function and one line in JUDGES each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.core.types import Candidates
from stages.rerank.model import RerankTowers


@dataclass(frozen=True)
class Evidence:
    """What the judges look at: one forward of the towers over all K candidates."""

    phones: Tensor  # (P,) symbol ids
    candidates: Candidates
    similarity: Tensor  # (K,) cosine times the learned scale
    phone_log_probs: Tensor  # (K, N, symbols)


def gather(towers: RerankTowers, phones: Tensor, candidates: Candidates) -> Evidence:
    """Embeds the phones (P,) once, all candidates in one padded forward; the padding's phone scores are never read."""
    rows = [torch.from_numpy(c.codes.codes) for c in candidates.items]
    codes = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1).to(phones.device)
    speech = towers.embed_speech(codes)
    heard = [towers.ears(row[None].to(phones.device))[0] for row in rows]
    logits = torch.nn.utils.rnn.pad_sequence(heard, batch_first=True)
    similarity = towers.scale * (speech @ towers.embed_text(phones[None])[0])
    return Evidence(phones, candidates, similarity, logits.log_softmax(-1))


Judge = Callable[[Evidence], list[float]]


def clip(evidence: Evidence) -> list[float]:
    """Likeness of text and speech in the common space (CLVP)."""
    return evidence.similarity.tolist()


def phones(evidence: Evidence) -> list[float]:
    """Mean log-probability per code of the best monotonic path through the asked phones (Viterbi), nats."""
    lengths = [len(c.codes.codes) for c in evidence.candidates.items]
    return best_paths(evidence.phone_log_probs, lengths, evidence.phones)


SKIP = -4.0
"""nats that a phone left out costs; truly spoken phones last a code (32 ms) or more nearly always"""


def best_paths(log_probs: Tensor, lengths: list[int], phone_ids: Tensor) -> list[float]:
    """Viterbi score per code of each candidate: the mean over its codes of the best path; -inf without one.

    The path moves on by at most two phones a code, pays SKIP for a phone left out, starts on one of the first two
    phones and ends on one of the last two. Candidates go side by side but never mix: each has the score it has alone.

    Args:
        log_probs: (K, N, symbols); beyond a candidate's length nothing is read.
        phone_ids: (P,) the phones asked for.
    """
    emission = log_probs[:, :, phone_ids].double()  # (K, N, P)
    ends = torch.tensor(lengths, device=emission.device).unsqueeze(-1)
    outside = torch.full((len(lengths), 2), -torch.inf, dtype=emission.dtype, device=emission.device)
    price = torch.tensor(
        [SKIP, 0.0, 0.0], dtype=emission.dtype, device=emission.device
    )  # from two back, one back, the same
    score = torch.full_like(emission[:, 0], -torch.inf)
    score[:, :2] = emission[:, 0, :2]
    for n in range(1, max(lengths)):
        moved = (torch.cat((outside, score), dim=1).unfold(1, 3, 1) + price).amax(-1) + emission[:, n]
        score = torch.where(n < ends, moved, score)
    return (score[:, -2:].amax(-1) / ends.squeeze(-1)).tolist()


def log_prob(evidence: Evidence) -> list[float]:
    """The decoder's own mean log-probability per code, nats."""
    return [c.log_prob for c in evidence.candidates.items]


def faults(evidence: Evidence) -> list[float]:
    """Minus the number of faults the decoder marked."""
    return [-float(len(c.faults)) for c in evidence.candidates.items]


JUDGES: dict[str, Judge] = {"clip": clip, "phones": phones, "log_prob": log_prob, "faults": faults}
