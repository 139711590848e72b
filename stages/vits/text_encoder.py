"""The text encoder: phones, with tones, language, words' meaning and speaker, to the prior of each phone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.core.config import least
from stages.vits.blocks import RelativeEncoder


@dataclass(frozen=True)
class TextEncoderConfig:
    """Hyper-parameters of the text encoder."""

    filter: int = 768
    heads: int = 2
    layers: int = 6
    kernel: int = 3
    window: int = 4
    """places either side whose distance attention knows"""
    dropout: float = 0.1
    speaker: bool = False
    """the encoder hears the speaker (VITS2, MeloTTS)"""

    def __post_init__(self) -> None:
        least(self, 1, "filter", "heads", "layers", "kernel")
        least(self, 0, "window")


@dataclass(frozen=True)
class TextInput:
    """What is to be said."""

    symbols: Tensor  # (B, P) long
    lengths: Tensor  # (B,) long
    tones: Tensor | None = None  # (B, P) long; None = not known
    languages: Tensor | None = None  # (B, P) long; None = the first
    bert: Tensor | None = None  # (B, P, D) word vectors at the phones

    def to(self, device: torch.device | str) -> TextInput:
        """The same on another device."""
        parts = (self.symbols, self.lengths, self.tones, self.languages, self.bert)
        return TextInput(*(None if part is None else part.to(device) for part in parts))  # type: ignore[arg-type]


class TextEncoder(nn.Module):
    """Embeddings, summed, through a transformer (VITS 2.2; tones, languages and BERT as in MeloTTS).

    Args:
        tones, languages: how many there are; 0 tones or 1 language have no table.
        bert: width of the word vectors; 0 = none.
    """

    def __init__(
        self,
        config: TextEncoderConfig,
        symbols: int,
        tones: int,
        languages: int,
        bert: int,
        hidden: int,
        channels: int,
        condition: int,
    ) -> None:
        super().__init__()
        self.hidden = hidden
        self.symbols = nn.Embedding(symbols, hidden)
        nn.init.normal_(self.symbols.weight, std=hidden**-0.5)
        self.tones = _added(tones, hidden) if tones else None
        self.languages = _added(languages, hidden) if languages > 1 else None
        self.bert = nn.Conv1d(bert, hidden, 1) if bert else None
        self.encoder = RelativeEncoder(
            hidden,
            config.filter,
            config.heads,
            config.layers,
            config.kernel,
            config.dropout,
            config.window,
            condition if config.speaker else 0,
        )
        self.statistics = nn.Conv1d(hidden, 2 * channels, 1)

    def forward(self, text: TextInput, mask: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """text, mask (B, 1, P) -> hidden (B, H, P), mean and log_std of the prior (B, C, P).

        Raises:
            ValueError: word vectors for an encoder that hears none, or none for one that does.
        """
        if (self.bert is None) != (text.bert is None):
            raise ValueError(
                "this model hears no word vectors (BERT); leave the bert stage out"
                if self.bert is None
                else "this model hears word vectors (BERT); put the bert stage before it"
            )
        x = self.symbols(text.symbols)
        if self.tones is not None and text.tones is not None:
            x = x + self.tones(text.tones)
        if self.languages is not None:
            x = x + self.languages(text.symbols.new_zeros(1) if text.languages is None else text.languages)
        x = x.transpose(1, 2)
        if self.bert is not None and text.bert is not None:
            x = x + self.bert(text.bert.transpose(1, 2))
        h = self.encoder(x * math.sqrt(self.hidden), mask, condition)
        mean, log_std = (self.statistics(h) * mask).chunk(2, dim=1)
        return h, mean, log_std


def _added(count: int, width: int) -> nn.Embedding:
    """A table whose rows start at zero: what it adds is learnt, also by a model that began without it."""
    table = nn.Embedding(count, width)
    nn.init.zeros_(table.weight)
    return table
