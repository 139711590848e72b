"""Multi-head attention with rotary positions and an optional pre-allocated key/value cache."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def rotary_angles(positions: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    """cos and sin tables (…, head_dim / 2) for integer positions (Su et al. 2021, RoFormer)."""
    frequency = 10000.0 ** (-torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim)
    angle = positions.to(torch.float32).unsqueeze(-1) * frequency
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates pairs (first half, second half) of the last dimension; cos, sin broadcast against (…, head_dim / 2)."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)


class KeyValueCache:
    """Keys and values of every layer for K rows, written in place; `length` positions are valid."""

    def __init__(
        self, layers: int, rows: int, heads: int, capacity: int, head_dim: int, device: torch.device | str = "cpu"
    ) -> None:
        self.keys = torch.zeros(layers, rows, heads, capacity, head_dim, device=device)
        self.values = torch.zeros(layers, rows, heads, capacity, head_dim, device=device)
        self.length = 0

    def expand(self, rows: int) -> KeyValueCache:
        """The same cache for `rows` copies of its single row: one prefill serves every candidate."""
        out = object.__new__(KeyValueCache)
        out.keys = self.keys.expand(-1, rows, -1, -1, -1).clone()
        out.values = self.values.expand(-1, rows, -1, -1, -1).clone()
        out.length = self.length
        return out

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Writes (rows, heads, S, head_dim) at `length` and returns all valid keys and values of the layer."""
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


class SelfAttention(nn.Module):
    """Self-attention with rotary positions (scaled dot product, torch's fused kernel)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """x (B, S, D) -> the same; cos, sin (B or 1, 1, S, head_dim / 2); mask (B or 1, 1, S, S_all), True = look."""
        b, s, d = x.shape
        q, k, v = self.qkv(x).view(b, s, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if cache is not None:
            k, v = cache.append(layer, k, v)
        h = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(h.transpose(1, 2).reshape(b, s, d))


class CrossAttention(nn.Module):
    """Attention of queries over a context without positions (as in the Perceiver, Jaegle et al. 2021)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x (B, Q, D), context (B, S, D) -> (B, Q, D)."""
        b, n, d = x.shape
        q = self.query(x).view(b, n, self.heads, self.head_dim).transpose(1, 2)
        k, v = self.key_value(context).view(b, context.shape[1], 2, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))
