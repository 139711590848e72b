"""The autoregressive stage: phones and a voice -> candidates of speech codes."""

from __future__ import annotations

import numpy as np
import torch

from stages.autoregressive.config import SPEC, AutoregressiveConfig
from stages.autoregressive.decoding import MOST_SLOTS, ROWS, SLOTS, Request, Sampled, Work, sample
from stages.autoregressive.model import AutoregressiveDecoder, AutoregressiveModelConfig
from stages.autoregressive.tiles import safe_slots
from stages.core import checkpoint, symbols
from stages.core.stage import Item
from stages.core.types import Candidate, Phonemes, SpeechCodes, Voice
from stages.nn.reference import VoiceMemory


class AutoregressiveStage:
    """Samples candidates; items of a batch are decoded together, none changed by its neighbours."""

    SPEC = SPEC

    def __init__(self, config: AutoregressiveConfig, model: AutoregressiveDecoder, codebook: str, device: str) -> None:
        self.config, self.model, self.codebook, self.device = config, model, codebook, device
        self.slots = safe_slots(model, SLOTS, MOST_SLOTS, ROWS)
        self.work = Work()
        """of all calls so far"""
        self.voices = VoiceMemory(model.config.audio, model.voice_latents, device)

    @classmethod
    def load(cls, config: AutoregressiveConfig, device: str) -> AutoregressiveStage:
        """Reads the checkpoint. Raises CheckpointError when it does not fit (stage, sizes, symbol table)."""
        found = checkpoint.read(config.checkpoint, SPEC.name)
        checkpoint.require(found, "symbols", symbols.DIGEST, "was trained on another phone table")
        model = AutoregressiveDecoder(checkpoint.model_config(found, AutoregressiveModelConfig))
        checkpoint.load_strict(model, found)
        return cls(config, model.eval().to(device), str(found.meta.get("codebook", "")), device)

    @torch.inference_mode()
    def run(self, batch: list[Item], *, seeds: list[list[int]]) -> list[list[Candidate]]:
        """One candidate per seed of each item."""
        requests = [
            Request(symbols.ids(item[Phonemes].symbols), self.voices(item[Voice]), own)
            for item, own in zip(batch, seeds, strict=True)
        ]
        sampled, work = sample(self.model, requests, self.config, self.slots)
        self.work += work
        return [
            [self._candidate(s, request.phones, seed) for s, seed in zip(own, request.seeds, strict=True)]
            for own, request in zip(sampled, requests, strict=True)
        ]

    def _candidate(self, sampled: Sampled, phones: list[int], seed: int) -> Candidate:
        codes = np.array(sampled.codes, dtype=np.int64)
        spoken = np.array([phones[place] for place in sampled.places], dtype=np.int64)
        return Candidate(SpeechCodes(codes, self.codebook, spoken), seed, sampled.log_prob, sampled.faults)
