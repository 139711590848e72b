"""Quantized codes and a voice -> mel frames by plain regression: the tokenizer's decoder and the diffusion's prior."""

from __future__ import annotations

from torch import Tensor, nn

from stages.nn.conditioning import VoiceVector
from stages.nn.conv import ConvNeXtStack, TimeConv
from stages.nn.quantizer import FiniteScalarQuantizer


class CodesDecoder(nn.Module):
    """Codes -> mel. It sees a voice vector, so that codes need not spell out who speaks."""

    def __init__(
        self, n_mels: int, width: int, depth: int, stride: int, levels: tuple[int, ...], voice_width: int
    ) -> None:
        super().__init__()
        self.stride = stride
        self.quantizer = FiniteScalarQuantizer(levels)
        self.voice = VoiceVector(n_mels, voice_width)
        self.from_code = TimeConv(len(levels), width, 5)
        self.decode_slow = ConvNeXtStack(width, depth, condition=voice_width)
        self.up = nn.Linear(width, width * stride)
        self.decode_fast = ConvNeXtStack(width, depth, condition=voice_width)
        self.to_mel = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_mels))

    def features(self, quantized: Tensor, voice: Tensor, beside: Tensor | None = None) -> Tensor:
        """quantized (B, N, d), voice vectors (B, V) -> hidden frames (B, N * stride, D).

        Args:
            beside: (B, N, D) what else is known of each code, added to what the codes say.
        """
        x = self.from_code(quantized)
        x = self.decode_slow(x if beside is None else x + beside, voice)
        b, n, w = x.shape
        return self.decode_fast(self.up(x).reshape(b, n * self.stride, w), voice)

    def decode(self, quantized: Tensor, reference: Tensor) -> Tensor:
        """quantized (B, N, d), reference mel (B, R, M) -> mel (B, N * stride, M)."""
        return self.to_mel(self.features(quantized, self.voice(reference)))
