"""Training of the autoregressive decoder: cross-entropy of the next code and of the pointer's move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.autoregressive.config import AutoregressiveConfig
from stages.autoregressive.decoding import Request, sample
from stages.autoregressive.model import MOVES, AutoregressiveDecoder, AutoregressiveModelConfig
from stages.core import symbols
from stages.data.batching import LengthBuckets, crop, held_out, pad, padding
from stages.data.codes import Codes, pointers, read_codes
from stages.data.features import Corpus
from stages.nn.conditioning import REFERENCE_FRAMES
from stages.training.record import Picture, Sample

IGNORE = -100
SAMPLES = 8
"""held-out texts that `samples` says"""


@dataclass(frozen=True)
class AutoregressiveTrainingConfig:
    """The `objective:` part of configs/train/…/autoregressive.yaml."""

    codes: str = "artifacts/starter/codes"
    """checkpoint of the tokenizer whose codes are learnt"""
    positions: int = 6000
    """prompt and speech positions a batch may hold"""
    corruption: float = 0.08
    """share of previous codes replaced by random ones, so that the model learns to recover from its own slips"""
    move_weight: float = 1.0


class AutoregressiveObjective:
    """Losses: `code` and `move`, nats per code."""

    stage = "autoregressive"

    def __init__(
        self, config: AutoregressiveModelConfig, training: AutoregressiveTrainingConfig, corpus: Corpus, seed: int
    ) -> None:
        self.config, self.training, self.corpus = config, training, corpus
        self.codes: Codes = read_codes(training.codes, corpus)
        if self.codes.size != config.codes:
            raise ValueError(
                f"{training.codes}: has {self.codes.size} codes, but the decoder is set to {config.codes}; "
                "set network.codes"
            )
        self.model = AutoregressiveDecoder(config)
        held = held_out(corpus.ids)
        self.rows, self.held = np.flatnonzero(~held), np.flatnonzero(held)
        length = np.diff(self.codes.start) + np.diff(corpus.phone_start) + config.latents
        self.buckets = LengthBuckets(length[self.rows], training.positions, seed)
        self.held_buckets = LengthBuckets(length[self.held], training.positions, seed)
        self.by_speaker = {s: self.rows[corpus.speaker_of[self.rows] == s] for s in np.unique(corpus.speaker_of)}
        self.fill = config.audio.silence
        self.seed = seed

    def batch(self, step: int) -> dict[str, Any]:
        """`phones` (B, P), `reference` (B, R, M), `previous`, `pointers`, and the targets `codes`, `moves` (B, N).

        Targets are padded with IGNORE.
        """
        return self._batch(self.rows[self.buckets.batch(step)], np.random.default_rng([self.seed, 7, step]))

    def _batch(self, items: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
        corpus, codes = self.corpus, self.codes
        phones = [corpus.phones[corpus.phones_of(i)].astype(np.int64) for i in items]
        spoken = [codes.of(i) for i in items]
        places = [pointers(corpus, i, codes.stride, MOVES - 1) for i in items]
        moves = [np.diff(np.append(p, len(ph))).clip(0, MOVES - 1) for p, ph in zip(places, phones, strict=True)]
        previous = [np.concatenate(([self.config.codes], c[:-1])) for c in spoken]
        references = [
            crop(
                corpus.mel[corpus.frames_of(int(rng.choice(self.by_speaker[corpus.speaker_of[i]])))],
                REFERENCE_FRAMES,
                rng,
                self.fill,
            )[0]
            for i in items
        ]
        return {
            "phones": pad(phones, 0),
            "previous": pad(previous, 0),
            "pointers": pad(places, 0),
            "codes": pad(spoken, IGNORE),
            "moves": pad(moves, IGNORE),
            "reference": torch.from_numpy(np.stack(references)),
            "ids": [corpus.ids[i] for i in items],
            "targets": sum(len(c) for c in spoken),
            "padding": padding(phones, spoken),
        }

    def losses(self, batch: dict[str, Any], generator: torch.Generator, step: int) -> dict[str, Tensor]:
        """See the class."""
        previous = batch["previous"]
        hit = torch.rand(previous.shape, generator=generator).to(previous.device) < self.training.corruption
        noise = torch.randint(0, self.config.codes, previous.shape, generator=generator).to(previous.device)
        code, move = self._nats(
            {**batch, "previous": torch.where(hit & (previous != self.config.codes), noise, previous)}
        )
        return {"code": code, "move": self.training.move_weight * move}

    def _nats(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        code_logits, move_logits = self.model(batch["phones"], batch["reference"], batch["previous"], batch["pointers"])
        return (
            F.cross_entropy(code_logits.flatten(0, 1), batch["codes"].flatten(), ignore_index=IGNORE),
            F.cross_entropy(move_logits.flatten(0, 1), batch["moves"].flatten(), ignore_index=IGNORE),
        )

    def validate(self) -> dict[str, float]:
        """Nats per code and per move on held-out utterances."""
        device = next(self.model.parameters()).device
        code, move, rng = [], [], np.random.default_rng(0)
        for step in range(6):
            batch = self._batch(self.held[self.held_buckets.batch(step)], rng)
            a, b = self._nats({k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()})
            code.append(float(a))
            move.append(float(b))
        return {"code": float(np.mean(code)), "move": float(np.mean(move))}

    def samples(self, generator: torch.Generator) -> dict[str, Sample]:
        """One candidate of each of a few held-out texts: share stuck (`loops`) and cut, and one alignment."""
        items = self.held[:SAMPLES]
        batch = self._batch(items, np.random.default_rng(0))
        device = next(self.model.parameters()).device
        latents = self.model.voice_latents(batch["reference"].to(device))
        seeds = torch.randint(2**62, (len(items),), generator=generator).tolist()
        requests = [
            Request(self.corpus.phones[self.corpus.phones_of(i)].tolist(), latents[n : n + 1], [seeds[n]])
            for n, i in enumerate(items)
        ]
        made = [found[0] for found in sample(self.model, requests, AutoregressiveConfig())[0]]
        places = np.array(made[0].places, np.int64)
        return {
            "loops": sum("loop" in m.faults for m in made) / len(made),
            "truncated": sum("truncated" in m.faults for m in made) / len(made),
            "alignment": Picture(np.arange(len(requests[0].phones))[:, None] == places),
        }

    def meta(self) -> dict[str, Any]:
        """What the checkpoint says of itself."""
        return {
            "audio": self.config.audio.digest,
            **symbols.meta(),
            "data": self.corpus.folder.name,
            "codebook": self.codes.codebook,
            "stride": self.codes.stride,
        }

    def adversary(self) -> None:
        """None: nothing adversarial here."""
        return None
