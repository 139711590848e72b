"""Multi-head attention with rotary positions, and the key/value caches of decoding: one sequence, or slots of them."""

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
    """Keys and values of every layer for rows of one length, written in place; `length` positions are valid."""

    def __init__(
        self, layers: int, rows: int, heads: int, capacity: int, head_dim: int, device: torch.device | str = "cpu"
    ) -> None:
        self.keys = torch.empty(layers, rows, heads, capacity, head_dim, device=device)
        self.values = torch.empty_like(self.keys)
        self.length = 0

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Writes k and v (rows, heads, S, head_dim) at `length`; attention of q, shaped likewise, over all so far."""
        end = self.length + k.shape[2]
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        return F.scaled_dot_product_attention(
            q, self.keys[layer, :, :, :end], self.values[layer, :, :, :end], attn_mask=mask
        )


class SlotCache:
    """Keys and values of every layer for a tile of slots, each a few rows of one sequence with a length of its own.

    A slot attends in a product of its own, of the shape its sequence alone would give it: what else is in the tile
    cannot change a bit of it. Slots are idle until loaded.
    """

    def __init__(
        self,
        layers: int,
        slots: int,
        rows: int,
        heads: int,
        capacity: int,
        head_dim: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.rows, self.lengths = rows, [0] * slots  # 0 = idle
        self.keys = torch.empty(layers, slots * rows, heads, capacity, head_dim, device=device)
        self.values = torch.empty_like(self.keys)
        self._next = torch.zeros(slots * rows, dtype=torch.long, device=device)  # the position each row is at
        self._busy = torch.zeros_like(self._next)
        self._angles = rotary_angles(torch.arange(capacity, device=device), head_dim)

    def of(self, slot: int) -> slice:
        """The rows of a slot."""
        return slice(slot * self.rows, (slot + 1) * self.rows)

    def load(self, slot: int, prompt: KeyValueCache) -> None:
        """Starts a slot: every row of it continues the one row of `prompt`."""
        n, rows = prompt.length, self.of(slot)
        self.keys[:, rows, :, :n] = prompt.keys[:, :, :, :n]
        self.values[:, rows, :, :n] = prompt.values[:, :, :, :n]
        self.lengths[slot], self._next[rows], self._busy[rows] = n, n, 1

    def free(self, slot: int) -> None:
        """Makes a slot idle."""
        rows = self.of(slot)
        self.lengths[slot], self._next[rows], self._busy[rows] = 0, 0, 0

    def angles(self) -> tuple[Tensor, Tensor]:
        """cos and sin (slots * rows, 1, 1, head_dim / 2) of the position each row is at."""
        cos, sin = self._angles
        return cos[self._next, None, None], sin[self._next, None, None]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """As KeyValueCache.attend, one position at a time (S = 1) and without a mask; zeros for idle slots."""
        if mask is not None or q.shape[2] != 1:
            raise ValueError("slots are decoded one position at a time, without a mask")
        out = torch.zeros_like(q)
        for slot, length in enumerate(self.lengths):
            if length:
                rows, end = self.of(slot), length + 1
                keys, values = self.keys[layer, rows], self.values[layer, rows]
                keys[:, :, length], values[:, :, length] = k[rows, :, 0], v[rows, :, 0]
                out[rows] = F.scaled_dot_product_attention(q[rows], keys[:, :, :end], values[:, :, :end])
        return out

    def advance(self) -> None:
        """After every layer has attended: the next position."""
        self.lengths = [length + 1 if length else 0 for length in self.lengths]
        self._next += self._busy


Cache = KeyValueCache | SlotCache


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
        cache: Cache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """x (B, S, D) -> the same; cos, sin (B or 1, 1, S, head_dim / 2); mask (B or 1, 1, S, S_all), True = look."""
        b, s, d = x.shape
        qkv = self.qkv(x).view(b, s, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        (q, k), v = rotate(qkv[:2], cos, sin), qkv[2]
        if cache is None:
            h = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        else:
            h = cache.attend(layer, q, k, v, mask)
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
