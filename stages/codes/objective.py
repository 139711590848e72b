"""Training of the speech tokenizer: mel reconstruction and a phone classifier on the codes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.codes.model import CodesModelConfig, SpeechTokenizer
from stages.core import symbols
from stages.data.batching import Crops, crop, frame_phones, split_crops
from stages.data.features import Corpus
from stages.nn.conditioning import REFERENCE_FRAMES
from stages.training.record import Picture, Sample


@dataclass(frozen=True)
class CodesTrainingConfig:
    """The `objective:` part of configs/train/…/codes.yaml."""

    batch: int = 16
    frames: int = 128
    phone_weight: float = 0.15
    speaker_weights: dict[str, float] = field(default_factory=dict)


class CodesObjective:
    """Losses: `mel_l1`, `mel_l2` (normalised log-mel) and `phone` (cross-entropy of the phone at each code)."""

    stage = "codes"

    def __init__(self, config: CodesModelConfig, training: CodesTrainingConfig, corpus: Corpus, seed: int) -> None:
        self.config, self.training, self.corpus = config, training, corpus
        self.model = SpeechTokenizer(config)
        self.crops, self.held = split_crops(corpus, training.speaker_weights, seed)
        self.fill = config.audio.silence

    def batch(self, step: int) -> dict[str, Any]:
        """`mel` (B, T, M), `reference` (B, R, M), `phones` (B, T / stride)."""
        return self._batch(self.crops, step, self.training.batch)

    def _batch(self, crops: Crops, step: int, size: int) -> dict[str, Any]:
        items, references, rng = crops.batch(step, size)
        corpus, stride, frames = self.corpus, self.config.stride, self.training.frames
        mels, refs, phones = [], [], []
        for i, r in zip(items, references, strict=True):
            mel = corpus.mel[corpus.frames_of(i)]
            start = int(rng.integers(0, max(len(mel) - frames, 0) // stride + 1)) * stride
            part = np.full((frames, mel.shape[1]), self.fill, np.float32)
            piece = mel[start : start + frames]
            part[: len(piece)] = piece
            label = np.full(frames // stride, symbols.ids(["pau"])[0], np.int64)
            found = frame_phones(corpus, i, stride)[start // stride : (start + frames) // stride]
            label[: len(found)] = found
            mels.append(part)
            phones.append(label)
            refs.append(crop(corpus.mel[corpus.frames_of(r)], REFERENCE_FRAMES, rng, self.fill)[0])
        return {
            "mel": torch.from_numpy(np.stack(mels)),
            "reference": torch.from_numpy(np.stack(refs)),
            "phones": torch.from_numpy(np.stack(phones)),
            "ids": [corpus.ids[i] for i in items],
        }

    def losses(self, batch: dict[str, Any], generator: torch.Generator, step: int) -> dict[str, Tensor]:
        """See the class."""
        quantized, codes = self.model.quantizer(self.model.latents(batch["mel"]))
        out = self.model.decode(quantized, batch["reference"])
        phone = F.cross_entropy(self.model.phone_logits(quantized).flatten(0, 1), batch["phones"].flatten())
        return {
            "mel_l1": (out - batch["mel"]).abs().mean(),
            "mel_l2": (out - batch["mel"]).square().mean(),
            "phone": self.training.phone_weight * phone,
            "_used": torch.tensor(float(codes.unique().numel())),
        }

    def validate(self) -> dict[str, float]:
        """L1, phone accuracy, and how much of the codebook is used (share of codes, perplexity)."""
        l1, right, total, counts = 0.0, 0, 0, torch.zeros(self.model.quantizer.size)
        device = next(self.model.parameters()).device
        for step in range(8):
            batch = {
                k: v.to(device) if isinstance(v, Tensor) else v for k, v in self._batch(self.held, step, 32).items()
            }
            quantized, codes = self.model.quantizer(self.model.latents(batch["mel"]))
            l1 += float((self.model.decode(quantized, batch["reference"]) - batch["mel"]).abs().mean()) / 8
            right += int((self.model.phone_logits(quantized).argmax(-1) == batch["phones"]).sum())
            total += batch["phones"].numel()
            counts += torch.bincount(codes.flatten().cpu(), minlength=len(counts))
        share = counts / counts.sum()
        perplexity = float(torch.exp(-(share * share.clamp_min(1e-12).log()).sum()))
        return {
            "mel_l1": l1,
            "phone_accuracy": right / total,
            "codes_used": float((counts > 0).float().mean()),
            "perplexity": perplexity,
        }

    def samples(self, generator: torch.Generator) -> dict[str, Sample]:
        """The mel of a held-out crop, and what its codes keep of it."""
        device = next(self.model.parameters()).device
        batch = self._batch(self.held, 0, 1)
        quantized, _ = self.model.quantizer(self.model.latents(batch["mel"].to(device)))
        out = self.model.decode(quantized, batch["reference"].to(device))
        return {"mel": Picture(batch["mel"][0].T.numpy()), "decoded": Picture(out[0].T.cpu().numpy())}

    def meta(self) -> dict[str, Any]:
        """What the checkpoint says of itself."""
        return {
            "audio": self.config.audio.digest,
            **symbols.meta(),
            "data": self.corpus.folder.name,
            "codes": self.model.quantizer.size,
        }

    def adversary(self) -> None:
        """None: nothing adversarial here."""
        return None
