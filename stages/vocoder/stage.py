"""The vocoder stage: mel -> audio."""

from __future__ import annotations

import torch

from stages.core import checkpoint
from stages.core.seeding import generator
from stages.core.stage import Item
from stages.core.types import Audio, Mel
from stages.nn.hifigan import HifiGanGenerator
from stages.vocoder.config import SPEC, VocoderConfig
from stages.vocoder.model import Vocoder, VocoderModelConfig


class VocoderStage:
    """Turns items one by one into sound, so that neighbours cannot change a result."""

    SPEC = SPEC

    def __init__(self, model: Vocoder, folder: str, device: str) -> None:
        self.model, self.folder, self.device = model, folder, device

    @classmethod
    def load(cls, config: VocoderConfig, device: str) -> VocoderStage:
        """Reads the checkpoint. Raises CheckpointError when it does not fit."""
        found = checkpoint.read(config.checkpoint, SPEC.name)
        model = Vocoder(checkpoint.model_config(found, VocoderModelConfig))
        checkpoint.load_strict(model, found)
        if isinstance(model.generator, HifiGanGenerator):
            model.generator.fold_weight_norm()
        return cls(model.eval().to(device), config.checkpoint, device)

    @torch.inference_mode()
    def run(self, batch: list[Item], *, seeds: list[int]) -> list[Audio]:
        """One waveform per item; the noise source draws from the same seed for all."""
        return [self._sound(item[Mel], seed) for item, seed in zip(batch, seeds, strict=True)]

    def _sound(self, mel: Mel, seed: int) -> Audio:
        spec = self.model.config.audio
        if mel.spec != spec.digest:
            raise checkpoint.CheckpointError(
                f"{self.folder}: was trained on another mel than this one; use checkpoints of one AudioSpec"
            )
        wave = self.model(torch.from_numpy(mel.frames)[None].to(self.device), generator(seed))[0]
        peak = wave.abs().max()
        return Audio(
            (wave / peak.clamp_min(0.99) * 0.99).cpu().numpy(), spec.sample_rate
        )  # louder than full scale is scaled, not clipped
