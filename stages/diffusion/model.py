"""The diffusion network: speech codes and a voice -> mel, by flow matching with a ConvNeXt stack modulated by time and voice."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stages.core.audio import AudioSpec
from stages.nn.conditioning import VoiceVector
from stages.nn.conv import ConvNeXtStack, TimeConv


@dataclass(frozen=True)
class DiffusionModelConfig:
    """Hyper-parameters."""

    audio: AudioSpec = field(default_factory=AudioSpec)
    codes: int = 1000
    stride: int = 2
    """mel frames per code"""
    width: int = 256
    depth: int = 8
    code_width: int = 192
    code_depth: int = 3
    voice_width: int = 64
    time_width: int = 64


def time_features(sigma: Tensor, width: int) -> Tensor:
    """Sinusoidal features (B, width) of noise levels sigma (B,) in [0, 1]."""
    frequency = torch.exp(-math.log(1000.0) * torch.arange(width // 2, device=sigma.device) / (width // 2)) * 100.0
    angle = sigma.unsqueeze(-1) * frequency
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


class DiffusionNetwork(nn.Module):
    """Velocity of the flow given the noisy mel, the noise level, the codes and the voice."""

    def __init__(self, config: DiffusionModelConfig) -> None:
        super().__init__()
        self.config = config
        m, w = config.audio.n_mels, config.width
        self.code_table = nn.Embedding(config.codes, config.code_width)
        self.code_stack = ConvNeXtStack(config.code_width, config.code_depth)
        self.code_norm = nn.LayerNorm(config.code_width)
        self.code_out = nn.Linear(config.code_width, w * config.stride)
        self.nothing = nn.Parameter(torch.zeros(w))
        self.voice = VoiceVector(m, config.voice_width)
        self.inputs = TimeConv(m, w, 5)
        self.stack = ConvNeXtStack(w, config.depth, dilations=(1, 2), condition=config.time_width + config.voice_width)
        self.norm = nn.LayerNorm(w)
        self.outputs = nn.Linear(w, m)
        nn.init.zeros_(self.outputs.weight)
        nn.init.zeros_(self.outputs.bias)

    def condition(self, codes: Tensor) -> Tensor:
        """codes (B, N) -> what the stack hears of them at frame rate (B, N * stride, D)."""
        x = self.code_out(self.code_norm(self.code_stack(self.code_table(codes))))
        return x.reshape(codes.shape[0], codes.shape[1] * self.config.stride, self.config.width)

    def unconditional(self, condition: Tensor) -> Tensor:
        """The condition that says nothing, of the same shape."""
        return self.nothing.expand_as(condition)

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor, voice: Tensor) -> Tensor:
        """x (B, T, M), sigma (B,), condition (B, T, D), voice (B, V) -> velocity (B, T, M)."""
        modulation = torch.cat((time_features(sigma, self.config.time_width), voice), dim=-1)
        h = self.stack(self.inputs(x) + condition, modulation)
        return self.outputs(self.norm(h))
