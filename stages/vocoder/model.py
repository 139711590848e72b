"""The vocoder as one model: which generator, with which hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stages.core.audio import AudioSpec
from stages.nn.hifigan import HifiGanConfig, HifiGanGenerator
from stages.nn.source_filter import SourceFilterConfig, SourceFilterGenerator


@dataclass(frozen=True)
class VocoderModelConfig:
    """`generator` chooses; only the chosen one's part is read."""

    audio: AudioSpec = field(default_factory=AudioSpec)
    generator: str = "source_filter"
    source_filter: SourceFilterConfig = field(default_factory=SourceFilterConfig)
    hifigan: HifiGanConfig = field(default_factory=HifiGanConfig)

    def __post_init__(self) -> None:
        if self.generator not in ("source_filter", "hifigan"):
            raise ValueError(f"unknown generator {self.generator!r}; known: source_filter, hifigan")


class Vocoder(nn.Module):
    """Mel (B, T, M) -> waveform (B, T * hop), whichever generator is inside."""

    def __init__(self, config: VocoderModelConfig) -> None:
        super().__init__()
        self.config = config
        self.generator: HifiGanGenerator | SourceFilterGenerator
        if config.generator == "hifigan":
            self.generator = HifiGanGenerator(config.hifigan, config.audio.n_mels, config.audio.hop)
        else:
            self.generator = SourceFilterGenerator(config.source_filter, config.audio)

    def forward(self, mel: Tensor, generator: torch.Generator) -> Tensor:
        """Synthesis; `generator` (CPU) gives the noise of the noise source."""
        if isinstance(self.generator, HifiGanGenerator):
            return self.generator(mel.transpose(1, 2))
        log_pitch = self.generator.pitch.log_pitch(self.generator.pitch(mel))
        noise = torch.randn(mel.shape[0], mel.shape[1] * self.config.audio.hop, generator=generator).to(mel)
        return self.generator(mel, noise, log_pitch)

    def train_forward(self, mel: Tensor, pitch: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Waveform and the pitch loss (0 without a predictor); a known pitch (B, T) Hz replaces the predicted one."""
        if isinstance(self.generator, HifiGanGenerator):
            return self.generator(mel.transpose(1, 2)), mel.new_zeros(())
        logits = self.generator.pitch(mel)
        predicted = self.generator.pitch.log_pitch(logits.detach())
        log_pitch = torch.where(pitch > 0, pitch.clamp_min(1.0).log(), predicted)
        noise = torch.randn(mel.shape[0], mel.shape[1] * self.config.audio.hop, generator=generator).to(mel)
        return self.generator(mel, noise, log_pitch), self.generator.pitch.loss(logits, pitch)
