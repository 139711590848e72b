"""The diffusion stage: speech codes and a voice -> mel."""

from __future__ import annotations

import numpy as np
import torch

from stages.core import checkpoint, symbols
from stages.core.config import ConfigError, near_miss
from stages.core.seeding import generator
from stages.core.stage import Item
from stages.core.types import Mel, RankedCodes, Voice
from stages.diffusion.config import SPEC, DiffusionConfig
from stages.diffusion.model import DiffusionModelConfig, DiffusionNetwork
from stages.diffusion.sampler import SAMPLERS, guided
from stages.nn.reference import VoiceMemory


class DiffusionStage:
    """Renders items one by one, so that neighbours cannot change a result."""

    SPEC = SPEC

    def __init__(self, config: DiffusionConfig, network: DiffusionNetwork, codebook: str, device: str) -> None:
        self.config, self.network, self.codebook, self.device = config, network, codebook, device
        self.voices = VoiceMemory(network.config.audio, network.voice, device)

    @classmethod
    def load(cls, config: DiffusionConfig, device: str) -> DiffusionStage:
        """Reads the checkpoint. Raises CheckpointError when it does not fit, ConfigError for an unknown sampler."""
        if config.sampler not in SAMPLERS:
            raise ConfigError(
                f"diffusion.sampler: unknown sampler {config.sampler!r}{near_miss(config.sampler, SAMPLERS)}"
            )
        found = checkpoint.read(config.checkpoint, SPEC.name)
        if found.config.get("phones"):
            checkpoint.require(found, "symbols", symbols.DIGEST, "was trained on another phone table")
        network = DiffusionNetwork(checkpoint.model_config(found, DiffusionModelConfig))
        checkpoint.load_strict(network, found)
        return cls(config, network.eval().to(device), str(found.meta.get("codebook", "")), device)

    @torch.inference_mode()
    def run(self, batch: list[Item], *, seeds: list[int]) -> list[Mel]:
        """One mel per item."""
        return [self._render(item[RankedCodes], item[Voice], seed) for item, seed in zip(batch, seeds, strict=True)]

    def _render(self, ranked: RankedCodes, voice: Voice, seed: int) -> Mel:
        if ranked.codes.codebook != self.codebook:
            raise checkpoint.CheckpointError(
                f"{self.config.checkpoint}: renders codes of another tokenizer than the one these codes come from; "
                "use checkpoints of one training"
            )
        spec = self.network.config.audio
        speaker = self.voices(voice)
        spoken = ranked.codes
        phones = None if spoken.phones is None else self._row(spoken.phones)
        condition = self.network.condition(self._row(spoken.codes), speaker, phones)
        noise = torch.randn(1, condition.shape[1], spec.n_mels, generator=generator(seed)) * self.config.temperature
        velocity = guided(self.network, self.config.guidance, condition, speaker, self.network.unconditional(condition))
        mel = SAMPLERS[self.config.sampler](velocity, noise.to(self.device), self.config.steps)
        return Mel(mel[0].cpu().numpy(), spec.digest)

    def _row(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array)[None].to(self.device)
