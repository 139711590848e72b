"""The pre-norm transformer of the autoregressive decoder."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from stages.nn.attention import Cache, KeyValueCache, SelfAttention


class Block(nn.Module):
    """Pre-norm attention and GELU feed-forward with residuals (GPT-2, Radford et al. 2019)."""

    def __init__(self, width: int, heads: int, expansion: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.feed_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, expansion * width)
        self.project = nn.Linear(expansion * width, width)
        self.dropout = dropout

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, cache: Cache | None, layer: int
    ) -> Tensor:
        """x (B, S, D) -> (B, S, D); see SelfAttention for the rest."""
        h = self.attention(self.attention_norm(x), cos, sin, mask, cache, layer)
        x = x + F.dropout(h, self.dropout, self.training)
        h = self.project(F.gelu(self.expand(self.feed_norm(x)), approximate="tanh"))
        return x + F.dropout(h, self.dropout, self.training)


class Transformer(nn.Module):
    """A stack of blocks and a last norm."""

    def __init__(self, width: int, depth: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.depth, self.heads, self.head_dim = depth, heads, width // heads
        self.blocks = nn.ModuleList(Block(width, heads, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None = None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """x (B, S, D) -> (B, S, D); advances `cache` by S positions when one is given."""
        for layer, block in enumerate(self.blocks):
            x = block(x, cos, sin, mask, cache, layer)
        if cache is not None:
            cache.length += x.shape[1]
        return self.norm(x)
