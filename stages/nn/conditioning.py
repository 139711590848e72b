"""Voice conditioning: a convolutional encoder over a reference mel and a perceiver that sums it up in a few latents."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.nn.attention import CrossAttention
from stages.nn.conv import ConvNeXtStack, TimeConv

REFERENCE_FRAMES = 192
"""mel frames of reference heard at once (3.07 s at 62.5 frames/s), in training and synthesis alike"""


def reference_windows(mel: Tensor, fill: float) -> Tensor:
    """A clip's mel (T, M) as windows (W, REFERENCE_FRAMES, M); what is encoded of them is averaged.

    A clip shorter than a window is padded with `fill` (the floor of the mel scale), a longer one loses a last part
    shorter than half a window.
    """
    short = -mel.shape[0] % REFERENCE_FRAMES
    if mel.shape[0] > REFERENCE_FRAMES and short > REFERENCE_FRAMES // 2:
        mel = mel[: mel.shape[0] // REFERENCE_FRAMES * REFERENCE_FRAMES]
    elif short:
        mel = F.pad(mel, (0, 0, 0, short), value=fill)
    return mel.view(-1, REFERENCE_FRAMES, mel.shape[1])


class ConditioningEncoder(nn.Module):
    """Reference mel -> `latents` vectors (Tortoise's conditioning encoder, XTTS's perceiver resampler)."""

    def __init__(self, n_mels: int, width: int, latents: int, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.inputs = TimeConv(n_mels, width, 4, stride=4)
        self.stack = ConvNeXtStack(width, depth, expansion=2)
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(torch.randn(latents, width) * 0.02)
        self.attention = CrossAttention(width, heads)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(approximate="tanh"), nn.Linear(2 * width, width))

    def forward(self, reference: Tensor) -> Tensor:
        """reference (B, T, M) normalised log-mel -> latents (B, Q, D)."""
        x = self.norm(self.stack(self.inputs(reference)))
        queries = self.queries.expand(reference.shape[0], -1, -1)
        h = queries + self.attention(queries, x)
        return h + self.feed(self.feed_norm(h))


class VoiceVector(nn.Module):
    """Reference mel -> one vector: the conditioning encoder with a single latent."""

    def __init__(self, n_mels: int, width: int) -> None:
        super().__init__()
        self.encoder = ConditioningEncoder(n_mels, width, latents=1)

    def forward(self, reference: Tensor) -> Tensor:
        """reference (B, T, M) -> (B, D)."""
        return F.layer_norm(self.encoder(reference)[:, 0], (self.encoder.norm.normalized_shape[0],))
