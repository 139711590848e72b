"""Training of the rerank towers: open_clip's contrastive loss, damaged codes as hard negatives, phones at codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.core import checkpoint, symbols
from stages.core.config import build, to_plain
from stages.data.batching import LengthBuckets, frame_phones, held_out, pad, padding
from stages.data.codes import read_codes
from stages.data.features import Corpus
from stages.rerank.model import RerankModelConfig, RerankTowers


@dataclass(frozen=True)
class RerankTrainingConfig:
    """The `objective:` part of configs/train/…/rerank.yaml."""

    codes: str = "artifacts/starter/codes"
    positions: int = 8000
    """phones and codes a batch may hold"""
    damaged_weight: float = 1.0
    phone_weight: float = 1.0
    noise: float = 0.05
    """share of codes replaced in the positives too: a slip that is not heard must not decide"""


def damage(codes: np.ndarray, other: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """What goes wrong in sampling: a stretch replaced by other speech or noise, dropped, repeated, or the end cut."""
    n = len(codes)
    length = int(rng.integers(2, max(3, n // 5) + 1))
    start = int(rng.integers(0, max(n - length, 0) + 1))
    before, stretch, after = codes[:start], codes[start : start + length], codes[start + length :]
    kind = rng.choice(["replaced", "noise", "dropped", "repeated", "cut"], p=[0.4, 0.2, 0.15, 0.15, 0.1])
    if kind == "replaced":
        place = int(rng.integers(0, max(len(other) - length, 0) + 1))
        stretch = other[place : place + length]
    elif kind == "noise":
        stretch = rng.integers(0, size, length)
    elif kind == "dropped":
        stretch = stretch[:0]
    elif kind == "repeated":
        stretch = np.concatenate((stretch, stretch))
    else:
        return codes[: max(n - max(length, n // 4), 2)]
    return np.concatenate((before, stretch, after))


class RerankObjective:
    """Losses: `clip` (symmetric InfoNCE within the batch), `damaged` (own codes against two damaged copies), `phone`
    (cross-entropy of the phone at each code)."""

    stage = "rerank"

    def __init__(self, config: RerankModelConfig, training: RerankTrainingConfig, corpus: Corpus, seed: int) -> None:
        from open_clip.loss import ClipLoss

        self.training, self.corpus = training, corpus
        self.codes = read_codes(training.codes, corpus)
        tokenizer = checkpoint.read(training.codes, "codes")
        own = {"levels": tokenizer.config["levels"], "phone_width": tokenizer.config["width"]}
        self.config = build(RerankModelConfig, {**to_plain(config), **own}, training.codes)
        self.model = RerankTowers(self.config)
        ears = self.model.ears
        ears.load_state_dict({name: tokenizer.tensors[name] for name in ears.state_dict()})
        self.model.start_from_phones()
        self.contrast = ClipLoss()
        held = held_out(corpus.ids)
        self.rows, self.held = np.flatnonzero(~held), np.flatnonzero(held)
        length = np.diff(self.codes.start) + np.diff(corpus.phone_start)
        self.buckets = LengthBuckets(length[self.rows], training.positions, seed)
        self.held_buckets = LengthBuckets(length[self.held], training.positions, seed)
        self.seed = seed

    def batch(self, step: int) -> dict[str, Any]:
        """`phones` (B, P); `codes` (B, N), `damaged` (2B, N), -1 = padding; `spoken` (B, N): phones, 0 = padding."""
        return self._batch(self.rows[self.buckets.batch(step)], np.random.default_rng([self.seed, 11, step]))

    def _batch(self, items: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
        corpus = self.corpus
        phones = [corpus.phones[corpus.phones_of(i)] for i in items]
        spoken = [self.codes.of(i) for i in items]
        other = [spoken[j] for j in rng.permutation(len(spoken))]

        def noisy(c: np.ndarray) -> np.ndarray:
            return np.where(rng.random(len(c)) < self.training.noise, rng.integers(0, self.config.codes, len(c)), c)

        damaged = [
            noisy(damage(c, o, self.config.codes, rng)) for _ in range(2) for c, o in zip(spoken, other, strict=True)
        ]
        return {
            "phones": pad(phones, 0),
            "codes": pad([noisy(c) for c in spoken], -1),
            "spoken": pad([frame_phones(corpus, i, self.codes.stride) for i in items], 0),
            "damaged": pad(damaged, -1),
            "ids": [corpus.ids[i] for i in items],
            "targets": len(items),
            "padding": padding(phones, spoken),
        }

    def _similarities(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        model = self.model
        text = model.embed_text(batch["phones"])
        speech, phone_logits = model.hear(batch["codes"])
        damaged = model.embed_speech(batch["damaged"]).unflatten(0, (2, len(text)))
        own = torch.cat(((text * speech).sum(-1, keepdim=True), (text * damaged).sum(-1).T), dim=1)  # (B, 3)
        return text, speech, own, phone_logits

    def losses(self, batch: dict[str, Any], generator: torch.Generator, step: int) -> dict[str, Tensor]:
        """See the class."""
        text, speech, own, phone_logits = self._similarities(batch)
        phone = F.cross_entropy(phone_logits.flatten(0, 1), batch["spoken"].flatten(), ignore_index=0)
        damaged = F.cross_entropy(self.model.scale * own, torch.zeros(len(own), dtype=torch.long, device=own.device))
        return {
            "clip": self.contrast(text, speech, self.model.scale),
            "damaged": self.training.damaged_weight * damaged,
            "phone": self.training.phone_weight * phone,
        }

    def validate(self) -> dict[str, float]:
        """How often the right codes win (within the batch, against their own damaged copies) and the phone is named."""
        device = next(self.model.parameters()).device
        found, intact, total, named, places, rng = 0, 0, 0, 0, 0, np.random.default_rng(0)
        for step in range(4):
            batch = self._batch(self.held[self.held_buckets.batch(step)], rng)
            batch = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            text, speech, own, phone_logits = self._similarities(batch)
            known = batch["spoken"] != 0
            named += int((phone_logits.argmax(-1) == batch["spoken"])[known].sum())
            places += int(known.sum())
            found += int(((text @ speech.T).argmax(-1) == torch.arange(len(text), device=device)).sum())
            intact += int((own.argmax(-1) == 0).sum())
            total += len(text)
        return {"retrieval": found / total, "intact_over_damaged": intact / total, "phone_accuracy": named / places}

    def meta(self) -> dict[str, Any]:
        """What the checkpoint says of itself."""
        return {**symbols.meta(), "data": self.corpus.folder.name, "codebook": self.codes.codebook}

    def adversary(self) -> None:
        """None: nothing adversarial here."""
        return None
