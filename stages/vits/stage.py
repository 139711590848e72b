"""The vits stage: phones -> audio in one model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.core import checkpoint, symbols
from stages.core.seeding import generator
from stages.core.stage import Item
from stages.core.types import Audio, Voice
from stages.nn.fast_conv import quicken
from stages.vits import cast
from stages.vits.blocks import fold_weight_norm
from stages.vits.config import SPEC, VitsConfig
from stages.vits.model import Controls, Vits, VitsModelConfig
from stages.vits.reading import read

LOUDEST = 0.99
"""louder sound is scaled so that its peak is this"""


class VitsStage:
    """Turns items one by one into sound, so that neighbours cannot change a result."""

    SPEC = SPEC

    def __init__(self, model: Vits, config: VitsConfig, meta: dict[str, Any], device: str) -> None:
        self.model, self.config, self.meta, self.device = model, config, meta, device
        self.cast = cast.read_cast(config.checkpoint)
        self.controls = Controls(config.speed, config.noise_scale, config.noise_scale_w, config.sdp_ratio)
        self._speakers: dict[str, int | None] = {}

    @classmethod
    def load(cls, config: VitsConfig, device: str) -> VitsStage:
        """Reads the checkpoint. Raises CheckpointError when it does not fit (stage, sizes, symbol table)."""
        model, meta = load_model(config.checkpoint, device)
        return cls(model, config, meta, device)

    @torch.inference_mode()
    def run(self, batch: list[Item], *, seeds: list[int]) -> list[Audio]:
        """One waveform per item. Raises ConfigError for a voice, an accent or a language that the model has not."""
        return [self._sound(item, seed) for item, seed in zip(batch, seeds, strict=True)]

    def _sound(self, item: Item, seed: int) -> Audio:
        part = cast.part_of(self.cast, self.config, self._speaker(item[Voice]))
        text = read(item, self.model.config, self.meta, part.language).to(self.device)
        steady = self.controls.noise_scale == 0 and self.controls.noise_scale_w == 0
        draws = generator(0 if steady else seed)  # a decoder's own noise is then the same on every seed, too
        speaker, accent = row(part.speaker, self.device), row(part.accent, self.device)
        wave = self.model.synthesise(text, speaker, accent, self.controls, draws)[0]
        return Audio(levelled(wave), self.model.config.audio.sample_rate)

    def _speaker(self, voice: Voice) -> int | None:
        if voice.digest not in self._speakers:
            self._speakers[voice.digest] = cast.speaker_of(self.cast, self.config.speaker, voice)
        return self._speakers[voice.digest]


def load_model(folder: str, device: str) -> tuple[Vits, dict[str, Any]]:
    """The model of a checkpoint, for inference, and its meta.json. Raises CheckpointError when it does not fit."""
    found = checkpoint.read(folder, SPEC.name)
    if "reads" not in found.meta:  # a converted checkpoint says itself what its symbols are
        checkpoint.require(found, "symbols", symbols.DIGEST, "was trained on another phone table")
    model = Vits(checkpoint.model_config(found, VitsModelConfig))
    checkpoint.load_strict(model, found)
    fold_weight_norm(model)
    if device == "cpu":
        quicken(model.decoder)
    return model.eval().to(device), found.meta


def row(number: int | None, device: str) -> Tensor | None:
    """A row of a table as a batch of one (1,)."""
    return None if number is None else torch.tensor([number], device=device)


def levelled(wave: Tensor) -> np.ndarray:
    """(L,) -> float32 samples; louder than full scale is scaled, not clipped."""
    samples: np.ndarray = (wave / wave.abs().max().clamp_min(LOUDEST) * LOUDEST).cpu().numpy()
    return samples
