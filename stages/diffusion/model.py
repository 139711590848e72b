"""The diffusion network: speech codes and a voice -> mel, by flow matching around the mel that regression expects.

As in Grad-TTS (Popov et al. 2021) and Matcha-TTS (Mehta et al. 2023) a prior network first says what mel to expect;
here it is the tokenizer's own decoder, frozen. A ConvNeXt stack, modulated by noise level and voice, then learns only
what the prior cannot know.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from stages.core.audio import AudioSpec
from stages.nn.codes_decoder import CodesDecoder
from stages.nn.conv import ConvNeXtStack, TimeConv


@dataclass(frozen=True)
class PriorConfig:
    """The tokenizer's decoder; the same numbers as the tokenizer's CodesModelConfig."""

    width: int = 160
    depth: int = 3
    stride: int = 2
    levels: tuple[int, ...] = (8, 5, 5, 5)
    voice_width: int = 64


@dataclass(frozen=True)
class DiffusionModelConfig:
    """Hyper-parameters."""

    audio: AudioSpec = field(default_factory=AudioSpec)
    prior: PriorConfig = field(default_factory=PriorConfig)
    width: int = 256
    depth: int = 6
    time_width: int = 64
    phones: int = 0
    """symbols that a code can be a part of, padding included; 0 = the network does not see phones"""
    prior_error: float = 0.2
    """standard deviation of the prior's error (normalised log-mel), for the closed-form part of the velocity"""


def time_features(sigma: Tensor, width: int) -> Tensor:
    """Sinusoidal features (B, width) of noise levels sigma (B,) in [0, 1]."""
    frequency = torch.exp(-math.log(1000.0) * torch.arange(width // 2, device=sigma.device) / (width // 2)) * 100.0
    angle = sigma.unsqueeze(-1) * frequency
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


class DiffusionNetwork(nn.Module):
    """Velocity of the flow given the noisy mel, the noise level, the codes and the voice."""

    NAMED_ROWS: ClassVar[dict[str, str]] = {"phones.weight": "symbols"}

    def __init__(self, config: DiffusionModelConfig) -> None:
        super().__init__()
        self.config = config
        m, w, p = config.audio.n_mels, config.width, config.prior
        self.prior = CodesDecoder(m, p.width, p.depth, p.stride, p.levels, p.voice_width)
        self.phones = nn.Embedding(config.phones, p.width) if config.phones else None
        if self.phones is not None:
            nn.init.zeros_(self.phones.weight)  # starts as the prior that the tokenizer trained
        self.nothing = nn.Parameter(torch.zeros(p.width))
        self.inputs = TimeConv(2 * m + p.width, w, 5)
        self.stack = ConvNeXtStack(w, config.depth, dilations=(1, 2), condition=config.time_width + p.voice_width)
        self.norm = nn.LayerNorm(w)
        self.outputs = nn.Linear(w, m)
        nn.init.zeros_(self.outputs.weight)
        nn.init.zeros_(self.outputs.bias)

    def voice(self, reference: Tensor) -> Tensor:
        """reference mel (B, R, M) -> voice vectors (B, V)."""
        return self.prior.voice(reference)

    def condition(self, codes: Tensor, voice: Tensor, phones: Tensor | None = None) -> Tensor:
        """codes (B, N), voice (B, V) -> the prior's hidden frames and its mel (B, N * stride, D + M).

        Args:
            phones: (B, N) symbol id of each code's phone, 0 = unknown; a network that does not see phones ignores it.
        """
        beside = None
        if self.phones is not None:
            beside = self.phones(torch.zeros_like(codes) if phones is None else phones)
        hidden = self.prior.features(self.prior.quantizer.decode(codes), voice, beside)
        return torch.cat((hidden, self.prior.to_mel(hidden)), dim=-1)

    def unconditional(self, condition: Tensor) -> Tensor:
        """The condition that says nothing, of the same shape: a learned vector and the mean mel."""
        mean = condition.new_zeros(self.config.audio.n_mels)
        return torch.cat((self.nothing, mean)).expand_as(condition)

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor, voice: Tensor) -> Tensor:
        """x (B, T, M), sigma (B,), condition (B, T, D + M), voice (B, V) -> velocity (B, T, M).

        With data = prior + e, e ~ N(0, s^2), the best linear guess of the noise is a (x - (1 - sigma) prior) with
        a = sigma / (sigma^2 + (1 - sigma)^2 s^2), and so of the velocity; the network adds the rest.
        """
        expected = condition[..., -self.config.audio.n_mels :]
        level = sigma.view(-1, 1, 1)
        gain = level / (level.square() + ((1 - level) * self.config.prior_error).square())
        closed_form = gain * (x - (1 - level) * expected) - expected
        modulation = torch.cat((time_features(sigma, self.config.time_width), voice), dim=-1)
        h = self.stack(self.inputs(torch.cat((x, condition), dim=-1)), modulation)
        return closed_form + self.outputs(self.norm(h))
