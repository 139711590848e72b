"""The autoregressive speech-token decoder: GPT-2-style, over [voice latents][phones][speech codes], with a pointer.

Tortoise's UnifiedVoice (Betker 2023) leaves the alignment of codes to phones for attention to find, and pays with skips
and loops. Here each speech position also carries the phone it is on (as in ELLA-V, Song et al. 2024, and VALL-T, Du et
al. 2024), and besides the code the model predicts how many phones to move on: the pointer never goes back. Leaving the
last phone is the learned stop.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from stages.core.audio import AudioSpec
from stages.nn.attention import KeyValueCache, SlotCache, rotary_angles
from stages.nn.conditioning import ConditioningEncoder
from stages.nn.conv import ConvNeXtStack
from stages.nn.transformer import Transformer

MOVES = 4
"""0 to 3 phones forward per code"""


@dataclass(frozen=True)
class AutoregressiveModelConfig:
    """Hyper-parameters. Tortoise's published size is width 1024, depth 30, heads 16, latents 1."""

    audio: AudioSpec = field(default_factory=AudioSpec)
    symbols: int = 42
    codes: int = 1000
    width: int = 256
    depth: int = 4
    heads: int = 4
    latents: int = 4
    conditioning_width: int = 128
    phone_depth: int = 2
    dropout: float = 0.0


@dataclass(frozen=True)
class Prompt:
    """What decoding reads of one text: keys and values of its P phones and the voice, and each phone as a pointer."""

    cache: KeyValueCache  # of one row
    pointed: Tensor  # (P, D)


class AutoregressiveDecoder(nn.Module):
    """Predicts the next code and the pointer's next move at every speech position."""

    NAMED_ROWS: ClassVar[dict[str, str]] = {"phone_table.weight": "symbols"}

    def __init__(self, config: AutoregressiveModelConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.conditioning = ConditioningEncoder(config.audio.n_mels, config.conditioning_width, config.latents)
        self.conditioning_out = nn.Linear(config.conditioning_width, w)
        self.phone_table = nn.Embedding(config.symbols, w, padding_idx=0)
        self.phone_stack = ConvNeXtStack(w, config.phone_depth, expansion=2, kernel=5)
        self.phone_norm = nn.LayerNorm(w)
        self.pointer = nn.Linear(w, w)
        self.code_table = nn.Embedding(config.codes + 1, w)  # the last one starts the sequence
        self.transformer = Transformer(w, config.depth, config.heads, config.dropout)
        self.code_head = nn.Linear(w, config.codes)
        self.move_head = nn.Linear(w, MOVES)
        self.apply(_initialise)

    @property
    def start_code(self) -> int:
        """Index of the code embedding that starts every sequence."""
        return self.config.codes

    def encode_phones(self, phones: Tensor) -> Tensor:
        """phones (B, P) ids, 0 = padding after the end -> contextual embeddings (B, P, D); padding stays zero."""
        real = (phones != 0).unsqueeze(-1)
        x = self.phone_table(phones) * real
        for block in self.phone_stack.blocks:
            x = block(x) * real
        return self.phone_norm(x) * real

    def voice_latents(self, reference: Tensor) -> Tensor:
        """reference mel (B, R, M) -> voice latents (B, Q, D)."""
        return self.conditioning_out(self.conditioning(reference))

    def speech_inputs(self, codes: Tensor, pointers: Tensor, encoded: Tensor) -> Tensor:
        """Previous codes (B, N), phone indices now (B, N), encoded (B, P, D) -> (B, N, D)."""
        now = encoded.gather(1, pointers.unsqueeze(-1).expand(-1, -1, encoded.shape[-1]))
        return self.code_table(codes) + self.pointer(now)

    def forward(self, phones: Tensor, reference: Tensor, previous: Tensor, pointers: Tensor) -> tuple[Tensor, Tensor]:
        """Teacher forcing: phones (B, P), reference (B, R, M), previous codes and pointers (B, N).

        Returns code logits (B, N, C) and move logits (B, N, MOVES). Phones are padded at their end, so padding lies
        inside the sequence: it is masked, and positions skip it.
        """
        encoded = self.encode_phones(phones)
        x = torch.cat((self.voice_latents(reference), encoded, self.speech_inputs(previous, pointers, encoded)), dim=1)
        b, s, _ = x.shape
        q, p = self.config.latents, phones.shape[1]
        real = torch.ones(b, s, dtype=torch.bool, device=x.device)
        real[:, q : q + p] = phones != 0
        position = real.long().cumsum(1) - 1
        causal = torch.ones(s, s, dtype=torch.bool, device=x.device).tril()
        mask = (causal & real.unsqueeze(1)) | torch.eye(s, dtype=torch.bool, device=x.device)
        cos, sin = rotary_angles(position, self.transformer.head_dim)
        h = self.transformer(x, cos.unsqueeze(1), sin.unsqueeze(1), mask.unsqueeze(1))[:, q + p :]
        return self.code_head(h), self.move_head(h)

    def prefill(self, phones: Tensor, latents: Tensor) -> Prompt:
        """One pass over the prompt of one text: phones (1, P), voice latents (1, Q, D)."""
        encoded = self.encode_phones(phones)
        x = torch.cat((latents, encoded), dim=1)
        s = x.shape[1]
        t = self.transformer
        cache = KeyValueCache(t.depth, 1, t.heads, s, t.head_dim, x.device)
        cos, sin = rotary_angles(torch.arange(s, device=x.device).unsqueeze(0), t.head_dim)
        causal = torch.ones(s, s, dtype=torch.bool, device=x.device).tril()
        t(x, cos.unsqueeze(1), sin.unsqueeze(1), causal[None, None], cache)
        return Prompt(cache, self.pointer(encoded[0]))

    def slots(self, slots: int, rows: int, capacity: int) -> SlotCache:
        """An idle cache for `step`, with room for `capacity` positions (prompt and codes) a slot."""
        t = self.transformer
        return SlotCache(t.depth, slots, rows, t.heads, capacity, t.head_dim, self.pointer.weight.device)

    def step(self, code: Tensor, pointed: Tensor, cache: SlotCache) -> tuple[Tensor, Tensor]:
        """One position of every row of the cache: previous codes (K,), and the phones pointed at (K, D) as in `Prompt`.

        Returns code logits (K, C) and move logits (K, MOVES).
        """
        x = (self.code_table(code) + pointed).unsqueeze(1)
        cos, sin = cache.angles()
        for layer, block in enumerate(self.transformer.blocks):
            x = block(x, cos, sin, None, cache, layer)
        cache.advance()
        h = self.transformer.norm(x)[:, 0]
        return self.code_head(h), self.move_head(h)


def _initialise(module: nn.Module) -> None:
    """GPT-2's initialisation: normal with 0.02 for linear layers and embeddings."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
