"""Training of the vocoder: spectral reconstruction first, adversarial after `adversarial_from` steps.

With `mels: predicted` it hears the mels that a diffusion predicts and must still give the true sound.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.core.audio import mel_spectrogram
from stages.core.config import near_miss
from stages.data.batching import Crops, split_crops
from stages.data.features import Corpus
from stages.data.predicted import PredictedConfig, read_predicted
from stages.nn.discriminators import DiscriminatorConfig, Discriminators
from stages.nn.source_filter import SourceFilterGenerator
from stages.nn.spectral import stft_loss
from stages.training.adversarial import AdversarialLoss
from stages.training.record import Picture, Sample, Sound
from stages.vocoder.model import Vocoder, VocoderModelConfig

GROUND_TRUTH, PREDICTED = "ground_truth", "predicted"


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
    mels: str = GROUND_TRUTH
    """what the vocoder hears: ground_truth, or predicted (for fine-tuning on what the diffusion gives)"""
    predicted: PredictedConfig | None = None
    """by which diffusion, of how many utterances; for `mels: predicted`"""

    def __post_init__(self) -> None:
        if self.mels not in (GROUND_TRUTH, PREDICTED):
            raise ValueError(f"unknown mels {self.mels!r}{near_miss(self.mels, (GROUND_TRUTH, PREDICTED))}")
        if (self.mels == PREDICTED) != (self.predicted is not None):
            raise ValueError("mels: predicted and predicted: {codes: …, diffusion: {checkpoint: …}} go together")


class VocoderObjective:
    """Losses: `mel`, `stft`, `pitch`, and from `adversarial_from` on `adversarial` and `matching`."""

    stage = "vocoder"

    def __init__(self, config: VocoderModelConfig, training: VocoderTrainingConfig, corpus: Corpus, seed: int) -> None:
        self.config, self.training, self.corpus = config, training, corpus
        self.model = Vocoder(config)
        self._adversary = AdversarialLoss(Discriminators(training.discriminators), training.discriminator_lr)
        self.predicted = read_predicted(training.predicted, corpus) if training.predicted is not None else None
        among = None if self.predicted is None else self.predicted.rows
        self.crops, self.held = split_crops(corpus, training.speaker_weights, seed, among)

    def batch(self, step: int) -> dict[str, Any]:
        """`heard` and `mel` (B, T, M), `audio` (B, T * hop), `pitch` (B, T) Hz with 0 = unknown.

        `mel` is the sound's own, `heard` what the vocoder is given: the same, or the predicted one.
        """
        return self._batch(self.crops, step, self.training.batch)

    def _batch(self, crops: Crops, step: int, size: int) -> dict[str, Any]:
        items, _, rng = crops.batch(step, size)
        frames, hop, corpus = self.training.frames, self.config.audio.hop, self.corpus
        audio = np.zeros((size, frames * hop), np.float32)
        pitch = np.zeros((size, frames), np.float32)
        heard = np.full((size, frames, corpus.spec.n_mels), self.config.audio.silence, np.float32)
        for row, i in enumerate(items):
            span = corpus.frames_of(i)
            start = span.start + int(rng.integers(0, max(span.stop - span.start - frames, 0) + 1))
            end = min(start + frames, span.stop)
            audio[row, : (end - start) * hop] = corpus.audio[start * hop : end * hop] / 32768.0
            pitch[row, : end - start] = corpus.pitch[start:end]
            if self.predicted is not None:
                heard[row, : end - start] = self.predicted.of(i)[start - span.start : end - span.start]
        wave = torch.from_numpy(audio)
        mel = mel_spectrogram(wave, self.config.audio).transpose(1, 2)
        return {
            "audio": wave,
            "mel": mel,
            "heard": mel if self.predicted is None else torch.from_numpy(heard),
            "pitch": torch.from_numpy(pitch),
            "ids": [corpus.ids[i] for i in items],
        }

    def losses(self, batch: dict[str, Any], generator: torch.Generator, step: int) -> dict[str, Tensor]:
        """See the class."""
        t, real = self.training, batch["audio"]
        fake, pitch = self.model.train_forward(batch["heard"], batch["pitch"], generator)
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
            out["_discriminator"], adversarial, matching = self._adversary(fake[:, part], real[:, part])
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
            fake = self.model(batch["heard"], torch.Generator().manual_seed(step))
            mel_l1.append(float((mel_spectrogram(fake, self.config.audio).transpose(1, 2) - batch["mel"]).abs().mean()))
            stft.append(float(stft_loss(fake, batch["audio"])))
            if isinstance(self.model.generator, SourceFilterGenerator):
                pitch = self.model.generator.pitch
                known = batch["pitch"] > 0
                error = (pitch.log_pitch(pitch(batch["heard"])).exp() / batch["pitch"].clamp_min(1) - 1).abs()[known]
                wrong.append(float(error.median()) * 100)
        out = {"mel_l1": float(np.mean(mel_l1)), "stft": float(np.mean(stft))}
        return out | ({"pitch_error_percent": float(np.mean(wrong))} if wrong else {})

    def samples(self, generator: torch.Generator) -> dict[str, Sample]:
        """A held-out crop, heard and seen, and what the vocoder makes of the mel it is given."""
        device = next(self.model.parameters()).device
        batch, rate = self._batch(self.held, 0, 1), self.config.audio.sample_rate
        fake = self.model(batch["heard"].to(device), generator).cpu()
        return {
            "audio": Sound(batch["audio"][0].numpy(), rate),
            "vocoded": Sound(fake[0].numpy(), rate),
            "mel": Picture(batch["heard"][0].T.numpy()),
            "vocoded_mel": Picture(mel_spectrogram(fake, self.config.audio)[0].numpy()),
        }

    def judged(self) -> tuple[int, int]:
        """Sounds and frames of each that the discriminators get at once."""
        return self.training.batch, min(self.training.adversarial_frames, self.training.frames)

    def meta(self) -> dict[str, Any]:
        """What the checkpoint says of itself."""
        made = {} if self.predicted is None else {"predicted_mels": self.predicted.key}
        return {"audio": self.config.audio.digest, "data": self.corpus.folder.name, **made}

    def adversary(self) -> AdversarialLoss | None:
        """Discriminators with their optimizer; None when the run never uses them."""
        return (
            self._adversary if self.training.adversarial_weight and self.training.adversarial_from < 1_000_000 else None
        )
