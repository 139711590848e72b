"""Blocks of VITS (Kim et al. 2021) on (B, C, T) tensors: gated convolutions and the text transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

SPEAKER_LAYER = 2
"""index of the encoder layer before which the speaker is added (VITS2: the third block)"""


def sequence_mask(lengths: Tensor, longest: int) -> Tensor:
    """lengths (B,) -> (B, 1, longest) float, 1 where a row has something."""
    return (torch.arange(longest, device=lengths.device) < lengths.view(-1, 1, 1)).to(torch.float32)


def fold_weight_norm(module: nn.Module) -> None:
    """Makes normalised weights plain parameters, for inference; outputs stay the same."""
    for part in module.modules():
        if parametrize.is_parametrized(part, "weight"):
            parametrize.remove_parametrizations(part, "weight")


def keep_length(kernel: int) -> None:
    """Raises ValueError for the kernel of a WaveNet that would not give as many frames as it gets."""
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"kernel is {kernel}; give an odd number, so that frames stay in place")


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of (B, C, T)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, T) -> the same shape."""
        return F.layer_norm(x.transpose(1, 2), self.weight.shape, self.weight, self.bias).transpose(1, 2)


class WaveNet(nn.Module):
    """Non-causal gated dilated convolutions with residual and skip paths (WaveGlow's, as VITS uses them).

    Args:
        dilation_rate: layer i has dilation dilation_rate ** i.
        condition: width of the vector that every layer hears; 0 = none.
    """

    def __init__(
        self, width: int, kernel: int, dilation_rate: int, layers: int, condition: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.width, self.dropout = width, nn.Dropout(dropout)
        self.condition = weight_norm(nn.Conv1d(condition, 2 * width * layers, 1)) if condition else None
        self.gates, self.outputs = nn.ModuleList(), nn.ModuleList()
        for i in range(layers):
            dilation = dilation_rate**i
            padding = (kernel - 1) * dilation // 2
            self.gates.append(weight_norm(nn.Conv1d(width, 2 * width, kernel, dilation=dilation, padding=padding)))
            last = i == layers - 1  # of the last layer only the skip path goes on
            self.outputs.append(weight_norm(nn.Conv1d(width, width if last else 2 * width, 1)))

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (B, C, T), mask (B, 1, T), condition (B, G, 1) -> (B, C, T)."""
        heard = None
        if self.condition is not None and condition is not None:
            heard = self.condition(condition).split(2 * self.width, dim=1)
        total: Tensor | None = None
        for i, (gate, output) in enumerate(zip(self.gates, self.outputs, strict=True)):
            h = gate(x)
            if heard is not None:
                h = h + heard[i]
            a, b = h.chunk(2, dim=1)
            h = output(self.dropout(torch.tanh(a) * torch.sigmoid(b)))
            if i < len(self.gates) - 1:
                x = (x + h[:, : self.width]) * mask
                h = h[:, self.width :]
            total = h if total is None else total + h
        assert total is not None
        return total * mask


class RelativeAttention(nn.Module):
    """Self-attention that knows how far keys are, up to `window` places away (Shaw et al. 2018)."""

    def __init__(self, width: int, heads: int, window: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.head, self.window = heads, width // heads, window
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.key_offsets = nn.Parameter(torch.randn(2 * window + 1, self.head) * self.head**-0.5)
        self.value_offsets = nn.Parameter(torch.randn(2 * window + 1, self.head) * self.head**-0.5)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """x (B, S, D), keep (B, 1, 1, S) bool: keys that are there -> (B, S, D)."""
        b, s, d = x.shape
        q, k, v = self.qkv(x).view(b, s, 3, self.heads, self.head).permute(2, 0, 3, 1, 4)
        q = q * self.head**-0.5
        scores = q @ k.transpose(-1, -2) + self._spread(q @ self.key_offsets.T, s)
        weights = self.dropout(scores.masked_fill(~keep, torch.finfo(scores.dtype).min).softmax(-1))
        out = weights @ v + self._gathered(weights, s) @ self.value_offsets
        return self.out(out.transpose(1, 2).reshape(b, s, d))

    def _spread(self, near: Tensor, s: int) -> Tensor:
        """near (B, H, S, 2w + 1), by offset -> (B, H, S, S), by key; 0 where a key is out of the window."""
        w = self.window
        # row i has offset o at key i + o - w: written with rows one longer than they are read, each starts one later
        padded = F.pad(near, (0, s))
        skewed = padded.flatten(2)[..., : s * (s + 2 * w)].view(*near.shape[:2], s, s + 2 * w)
        return skewed[..., w : w + s]

    def _gathered(self, weights: Tensor, s: int) -> Tensor:
        """weights (B, H, S, S), by key -> (B, H, S, 2w + 1), by offset: the inverse of `_spread`."""
        w = self.window
        padded = F.pad(weights, (w, w)).flatten(2)
        return F.pad(padded, (0, s)).view(*weights.shape[:2], s, s + 2 * w + 1)[..., : 2 * w + 1]


class _EncoderLayer(nn.Module):
    """Attention and a two-convolution feed-forward, each with a residual and then a norm."""

    def __init__(self, width: int, filter: int, heads: int, kernel: int, dropout: float, window: int) -> None:
        super().__init__()
        self.attention = RelativeAttention(width, heads, window, dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.left, self.right = (kernel - 1) // 2, kernel // 2
        self.expand = nn.Conv1d(width, filter, kernel)
        self.project = nn.Conv1d(filter, width, kernel)
        self.feed_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, keep: Tensor) -> Tensor:
        """x (B, S, D), mask (B, 1, S) -> (B, S, D)."""
        x = self.attention_norm(x + self.dropout(self.attention(x, keep)))
        h = self.expand(F.pad(x.transpose(1, 2) * mask, (self.left, self.right)))
        h = self.project(F.pad(self.dropout(F.relu(h)) * mask, (self.left, self.right))) * mask
        return self.feed_norm(x + self.dropout(h.transpose(1, 2)))


class RelativeEncoder(nn.Module):
    """VITS's text transformer: relative positions, post-norm, convolutions for its feed-forward.

    Args:
        condition: width of the speaker's vector, heard from the third layer on (VITS2); 0 = none.
    """

    def __init__(
        self,
        width: int,
        filter: int,
        heads: int,
        layers: int,
        kernel: int,
        dropout: float,
        window: int,
        condition: int = 0,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}; give a number of heads that does")
        self.layers = nn.ModuleList(_EncoderLayer(width, filter, heads, kernel, dropout, window) for _ in range(layers))
        self.condition = nn.Linear(condition, width) if condition else None
        self.heard_at = min(SPEAKER_LAYER, layers - 1)

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (B, D, S), mask (B, 1, S), condition (B, G, 1) -> (B, D, S)."""
        keep = mask.bool().unsqueeze(1)
        h = (x * mask).transpose(1, 2)
        for i, layer in enumerate(self.layers):
            if i == self.heard_at and self.condition is not None and condition is not None:
                h = (h + self.condition(condition.transpose(1, 2))) * mask.transpose(1, 2)
            h = layer(h, mask, keep)
        return h.transpose(1, 2) * mask
