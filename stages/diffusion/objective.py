"""Training of the diffusion network: mean squared error of the velocity at a random noise level."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.core import checkpoint, symbols
from stages.core.config import build, to_plain
from stages.data.batching import Crops, crop, split_crops
from stages.data.codes import code_phones, read_codes
from stages.data.features import Corpus
from stages.diffusion.model import DiffusionModelConfig, DiffusionNetwork, PriorConfig
from stages.diffusion.sampler import euler, guided
from stages.diffusion.schedule import interpolate, velocity
from stages.nn.conditioning import REFERENCE_FRAMES
from stages.training.record import Picture, Sample


@dataclass(frozen=True)
class DiffusionTrainingConfig:
    """The `objective:` part of configs/train/…/diffusion.yaml."""

    codes: str = "artifacts/starter/codes"
    """checkpoint of the tokenizer whose codes are rendered and whose decoder is the prior"""
    batch: int = 16
    frames: int = 128
    unconditional: float = 0.05
    """share of items trained without codes, for classifier-free guidance"""
    corruption: float = 0.02
    """share of codes replaced by random ones: the decoder's codes are not perfect either"""
    phones_unknown: float = 0.1
    """share of items trained without their phones, for codes of which nobody knows them"""
    moves: int = 3
    """phones that a code may move on by at most, as in the decoder that will say them (its MOVES - 1)"""
    prior_weight: float = 1.0
    noise_bias: float = 2.0
    """noise levels are drawn as 1 - u ** noise_bias, u uniform; above 1 favours high noise, as few-step samplers do"""
    speaker_weights: dict[str, float] = field(default_factory=dict)


class DiffusionObjective:
    """Losses: `velocity` (squared error, Lipman et al. 2022 eq. 23) and `prior` (L1 of the mel to expect, Grad-TTS)."""

    stage = "diffusion"

    def __init__(
        self, config: DiffusionModelConfig, training: DiffusionTrainingConfig, corpus: Corpus, seed: int
    ) -> None:
        self.config, self.training, self.corpus = config, training, corpus
        self.codes = read_codes(training.codes, corpus)
        tokenizer = checkpoint.read(training.codes, "codes")
        own = {name: value for name, value in tokenizer.config.items() if name in to_plain(config.prior)}
        self.config = config = replace(config, prior=build(PriorConfig, own, training.codes))
        self.model = DiffusionNetwork(config)
        prior = self.model.prior
        prior.load_state_dict({name: tokenizer.tensors[name] for name in prior.state_dict()})
        self.crops, self.held = split_crops(corpus, training.speaker_weights, seed)
        self.fill = config.audio.silence

    def batch(self, step: int) -> dict[str, Any]:
        """`mel` (B, T, M), `codes` and `phones` (B, T / stride), `reference` (B, R, M)."""
        return self._batch(self.crops, step, self.training.batch)

    def _batch(self, crops: Crops, step: int, size: int) -> dict[str, Any]:
        items, references, rng = crops.batch(step, size)
        corpus, stride, frames = self.corpus, self.codes.stride, self.training.frames
        mels, codes, phones, refs = [], [], [], []
        for i, r in zip(items, references, strict=True):
            spoken = self.codes.of(i)
            first = int(rng.integers(0, max(len(spoken) - frames // stride, 0) + 1))
            part = spoken[first : first + frames // stride]
            # shorter utterances repeat their last code, which is a pause, over silence
            short = (0, frames // stride - len(part))
            codes.append(np.pad(part, short, mode="edge"))
            phones.append(np.pad(self._phones(i)[first : first + len(part)], short, mode="edge"))
            mel = corpus.mel[corpus.frames_of(i)][first * stride : first * stride + frames].astype(np.float32)
            mels.append(np.pad(mel, ((0, frames - len(mel)), (0, 0)), mode="edge"))
            refs.append(crop(corpus.mel[corpus.frames_of(r)], REFERENCE_FRAMES, rng, self.fill)[0])
        return {
            "mel": torch.from_numpy(np.stack(mels)),
            "codes": torch.from_numpy(np.stack(codes)),
            "phones": torch.from_numpy(np.stack(phones)),
            "reference": torch.from_numpy(np.stack(refs)),
            "ids": [corpus.ids[i] for i in items],
        }

    def _phones(self, i: int) -> np.ndarray:
        if not self.config.phones:
            return np.zeros_like(self.codes.of(i))
        phones = code_phones(self.corpus, i, self.codes.stride, self.training.moves)
        return np.zeros_like(self.codes.of(i)) if phones is None else phones

    def losses(self, batch: dict[str, Any], generator: torch.Generator, step: int) -> dict[str, Tensor]:
        """See the class."""
        mel, codes, model = batch["mel"], batch["codes"], self.model
        draw = lambda *shape: torch.rand(*shape, generator=generator).to(mel.device)  # noqa: E731
        noise = torch.randn(mel.shape, generator=generator).to(mel.device)
        random = torch.randint(0, self.codes.size, codes.shape, generator=generator).to(mel.device)
        codes = torch.where(draw(*codes.shape) < self.training.corruption, random, codes)
        unknown = draw(len(mel), 1) < self.training.phones_unknown
        voice = model.voice(batch["reference"])
        condition = model.condition(codes, voice, batch["phones"].masked_fill(unknown, 0))
        prior = (condition[..., -mel.shape[-1] :] - mel).abs().mean()
        free = (draw(len(mel)) < self.training.unconditional).view(-1, 1, 1)
        condition = torch.where(free, model.unconditional(condition), condition)
        sigma = 1 - draw(len(mel)) ** self.training.noise_bias
        out = model(interpolate(mel, noise, sigma), sigma, condition, voice)
        loss = (out - velocity(mel, noise)).square().mean()
        return {"velocity": loss, "prior": self.training.prior_weight * prior}

    def validate(self) -> dict[str, float]:
        """Mel L1 (normalised log-mel) of 6-step samples from the true codes at temperature 0.25, and of the prior."""
        device = next(self.model.parameters()).device
        l1, prior = [], []
        for step in range(4):
            batch = {
                k: v.to(device) if isinstance(v, Tensor) else v for k, v in self._batch(self.held, step, 16).items()
            }
            voice = self.model.voice(batch["reference"])
            condition = self.model.condition(batch["codes"], voice, batch["phones"])
            noise = torch.randn(batch["mel"].shape, generator=torch.Generator().manual_seed(step)).to(device) * 0.25
            out = euler(guided(self.model, 1.0, condition, voice, condition), noise, 6)
            l1.append(float((out - batch["mel"]).abs().mean()))
            prior.append(float((condition[..., -out.shape[-1] :] - batch["mel"]).abs().mean()))
        return {"mel_l1": float(np.mean(l1)), "prior_mel_l1": float(np.mean(prior))}

    def samples(self, generator: torch.Generator) -> dict[str, Sample]:
        """The mel of a held-out crop, the prior that its codes give, and a 6-step sample."""
        device = next(self.model.parameters()).device
        batch = {k: v.to(device) for k, v in self._batch(self.held, 0, 1).items() if isinstance(v, Tensor)}
        voice = self.model.voice(batch["reference"])
        condition = self.model.condition(batch["codes"], voice, batch["phones"])
        noise = torch.randn(batch["mel"].shape, generator=generator).to(device) * 0.25
        out = euler(guided(self.model, 1.0, condition, voice, condition), noise, 6)
        mels = {"mel": batch["mel"], "prior": condition[..., -out.shape[-1] :], "sampled": out}
        return {name: Picture(mel[0].T.cpu().numpy()) for name, mel in mels.items()}

    def meta(self) -> dict[str, Any]:
        """What the checkpoint says of itself."""
        known = symbols.meta() if self.config.phones else {}
        return {
            "audio": self.config.audio.digest,
            "data": self.corpus.folder.name,
            "codebook": self.codes.codebook,
            **known,
        }

    def adversary(self) -> None:
        """None: nothing adversarial here."""
        return None
