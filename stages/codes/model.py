"""The speech tokenizer: mel -> FSQ codes -> mel, with a phone classifier on the codes while it trains.

The auxiliary phone loss makes the codes phonetic (supervised semantic tokens, CosyVoice 2, Du et al. 2024): the decoder
that must predict them from phones, and the diffusion that must render them, both get an easier task.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from stages.core.audio import AudioSpec
from stages.nn.codes_decoder import CodesDecoder
from stages.nn.conv import ConvNeXtStack, TimeConv


@dataclass(frozen=True)
class CodesModelConfig:
    """Hyper-parameters of the tokenizer."""

    audio: AudioSpec = field(default_factory=AudioSpec)
    width: int = 160
    depth: int = 3
    """ConvNeXt blocks at each rate, in the encoder and again in the decoder"""
    stride: int = 2
    """mel frames per code"""
    levels: tuple[int, ...] = (8, 5, 5, 5)
    voice_width: int = 64
    phones: int = 42
    """classes of the auxiliary phone classifier"""


class SpeechTokenizer(CodesDecoder):
    """Mel <-> codes: an encoder before the quantizer, and the decoder it inherits."""

    NAMED_ROWS: ClassVar[dict[str, str]] = {"phone_head.1.weight": "symbols", "phone_head.1.bias": "symbols"}

    def __init__(self, config: CodesModelConfig) -> None:
        w, m = config.width, config.audio.n_mels
        super().__init__(m, w, config.depth, config.stride, config.levels, config.voice_width)
        self.config = config
        self.encode_in = TimeConv(m, w, 5)
        self.encode_fast = ConvNeXtStack(w, config.depth)
        self.down = nn.Linear(w * config.stride, w)
        self.encode_slow = ConvNeXtStack(w, config.depth)
        self.to_code = nn.Sequential(nn.LayerNorm(w), nn.Linear(w, len(config.levels)))
        self.phone_conv = TimeConv(len(config.levels), w, 5)
        self.phone_head = nn.Sequential(nn.GELU(approximate="tanh"), nn.Linear(w, config.phones))

    def latents(self, mel: Tensor) -> Tensor:
        """mel (B, T, M), T a multiple of the stride -> continuous latents before rounding (B, T / stride, d)."""
        x = self.encode_fast(self.encode_in(mel))
        b, t, w = x.shape
        x = self.down(x.reshape(b, t // self.stride, w * self.stride))
        return self.to_code(self.encode_slow(x))

    def encode(self, mel: Tensor) -> Tensor:
        """mel (B, T, M) -> codes (B, ceil(T / stride)); the end is padded with the floor of the mel scale."""
        short = -mel.shape[1] % self.stride
        if short:
            mel = torch.nn.functional.pad(mel, (0, 0, 0, short), value=self.config.audio.silence)
        return self.quantizer(self.latents(mel))[1]

    def phone_logits(self, quantized: Tensor) -> Tensor:
        """quantized (B, N, d) -> logits of the phone spoken at each code's middle (B, N, phones)."""
        return self.phone_head(self.phone_conv(quantized))
