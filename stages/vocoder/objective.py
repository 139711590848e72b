"""Training of the vocoder: spectral reconstruction first, adversarial after `adversarial_from` steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.core.audio import magnitudes, mel_spectrogram
from stages.data.batching import Crops, split_crops
from stages.data.features import Corpus
from stages.training.adversarial import AdversarialLoss
from stages.vocoder.discriminators import DiscriminatorConfig, Discriminators
from stages.vocoder.model import Vocoder, VocoderModelConfig
from stages.vocoder.source_filter import SourceFilterGenerator

RESOLUTIONS = ((2048, 512), (1024, 256), (512, 128), (256, 64))
"""(n_fft, hop) of the multi-resolution STFT loss (Yamamoto et al. 2020)"""


@dataclass(frozen=True)
class VocoderTrainingConfig:
    """The `objective:` part of configs/train/…/vocoder.yaml."""

    batch: int = 16
    frames: int = 64
    mel_weight: float = 3.0
    stft_weight: float = 1.0
    pitch_weight: float = 0.1
    adversarial_weight: float = 1.0
    matching_weight: float = 2.0
    adversarial_from: int = 1_000_000
    adversarial_frames: int = 32
    """mel frames of each item that the discriminators see"""
    discriminator_lr: float = 2e-4
    discriminators: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    speaker_weights: dict[str, float] = field(default_factory=dict)


def stft_loss(fake: Tensor, real: Tensor) -> Tensor:
    """Mean over resolutions of spectral convergence plus L1 of log-magnitudes (Arik et al. 2019); (B, L) each."""
    total = fake.new_zeros(())
    for n_fft, hop in RESOLUTIONS:
        a, b = magnitudes(fake, n_fft, hop), magnitudes(real, n_fft, hop)
        total = (
            total + (a - b).norm() / b.norm().clamp_min(1e-3) + (torch.log(a + 1e-3) - torch.log(b + 1e-3)).abs().mean()
        )
    return total / len(RESOLUTIONS)


class VocoderObjective:
    """Losses: `mel`, `stft`, `pitch`, and from `adversarial_from` on `adversarial` and `matching`."""

    stage = "vocoder"

    def __init__(self, config: VocoderModelConfig, training: VocoderTrainingConfig, corpus: Corpus, seed: int) -> None:
        self.config, self.training, self.corpus = config, training, corpus
        self.model = Vocoder(config)
        self._adversary = AdversarialLoss(Discriminators(training.discriminators), training.discriminator_lr)
        self.crops, self.held = split_crops(corpus, training.speaker_weights, seed)

    def batch(self, step: int) -> dict[str, Any]:
        """`mel` (B, T, M), `audio` (B, T * hop), `pitch` (B, T) Hz with 0 = unknown."""
        return self._batch(self.crops, step, self.training.batch)

    def _batch(self, crops: Crops, step: int, size: int) -> dict[str, Any]:
        items, _, rng = crops.batch(step, size)
        frames, hop, corpus = self.training.frames, self.config.audio.hop, self.corpus
        audio = np.zeros((size, frames * hop), np.float32)
        pitch = np.zeros((size, frames), np.float32)
        for row, i in enumerate(items):
            span = corpus.frames_of(i)
            start = span.start + int(rng.integers(0, max(span.stop - span.start - frames, 0) + 1))
            end = min(start + frames, span.stop)
            audio[row, : (end - start) * hop] = corpus.audio[start * hop : end * hop] / 32768.0
            pitch[row, : end - start] = corpus.pitch[start:end]
        wave = torch.from_numpy(audio)
        mel = mel_spectrogram(wave, self.config.audio).transpose(1, 2)
        return {"audio": wave, "mel": mel, "pitch": torch.from_numpy(pitch), "ids": [corpus.ids[i] for i in items]}

    def losses(self, batch: dict[str, Any], generator: torch.Generator, step: int) -> dict[str, Tensor]:
        """See the class."""
        t, real = self.training, batch["audio"]
        fake, pitch = self.model.train_forward(batch["mel"], batch["pitch"], generator)
        out = {
            "mel": t.mel_weight
            * (mel_spectrogram(fake, self.config.audio).transpose(1, 2) - batch["mel"]).abs().mean(),
            "stft": t.stft_weight * stft_loss(fake, real),
            "pitch": t.pitch_weight * pitch,
        }
        if step >= t.adversarial_from and t.adversarial_weight:
            samples = min(t.adversarial_frames, t.frames) * self.config.audio.hop
            start = int(torch.randint(0, real.shape[1] - samples + 1, (1,), generator=generator))
            part = slice(start, start + samples)
            out["_discriminator"] = self._adversary.train_step(fake[:, part], real[:, part])
            adversarial, matching = self._adversary(fake[:, part], real[:, part])
            out |= {"adversarial": t.adversarial_weight * adversarial, "matching": t.matching_weight * matching}
        return out

    def validate(self) -> dict[str, float]:
        """Mel L1 (normalised log-mel), STFT loss and pitch error (median, in per cent) with the predicted pitch."""
        device = next(self.model.parameters()).device
        mel_l1, stft, wrong = [], [], []
        for step in range(4):
            batch = {
                k: v.to(device) if isinstance(v, Tensor) else v for k, v in self._batch(self.held, step, 16).items()
            }
            fake = self.model(batch["mel"], torch.Generator().manual_seed(step))
            mel_l1.append(float((mel_spectrogram(fake, self.config.audio).transpose(1, 2) - batch["mel"]).abs().mean()))
            stft.append(float(stft_loss(fake, batch["audio"])))
            if isinstance(self.model.generator, SourceFilterGenerator):
                pitch = self.model.generator.pitch
                known = batch["pitch"] > 0
                error = (pitch.log_pitch(pitch(batch["mel"])).exp() / batch["pitch"].clamp_min(1) - 1).abs()[known]
                wrong.append(float(error.median()) * 100)
        out = {"mel_l1": float(np.mean(mel_l1)), "stft": float(np.mean(stft))}
        return out | ({"pitch_error_percent": float(np.mean(wrong))} if wrong else {})

    def meta(self) -> dict[str, Any]:
        """What the checkpoint says of itself."""
        return {"audio": self.config.audio.digest, "data": self.corpus.folder.name}

    def adversary(self) -> AdversarialLoss | None:
        """Discriminators with their optimizer; None when the run never uses them."""
        return (
            self._adversary if self.training.adversarial_weight and self.training.adversarial_from < 1_000_000 else None
        )
