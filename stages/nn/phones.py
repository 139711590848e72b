"""Which phone is said, from codes alone: the tokenizer's auxiliary classifier, and the ears of the rerank stage."""

from __future__ import annotations

from torch import Tensor, nn

from stages.nn.conv import TimeConv
from stages.nn.quantizer import FiniteScalarQuantizer


class PhoneClassifier(nn.Module):
    """Codes -> phone logits, from two codes either side."""

    def __init__(self, levels: tuple[int, ...], width: int, phones: int) -> None:
        super().__init__()
        self.quantizer = FiniteScalarQuantizer(levels)
        self.phone_conv = TimeConv(len(levels), width, 5)
        self.phone_head = nn.Sequential(nn.GELU(approximate="tanh"), nn.Linear(width, phones))

    def forward(self, codes: Tensor) -> Tensor:
        """codes (B, N) -> logits (B, N, phones)."""
        return self.phone_head(self.phone_conv(self.quantizer.decode(codes)))
