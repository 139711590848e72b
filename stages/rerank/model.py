"""Text and speech-token towers in one space (CLVP, Betker 2023), on open_clip's transformer.

CLVP pools to one vector, and its author found that it "probably learns the set of words, not their order". So the
speech tower here also names the phone at every code: that teaches it phones early, and gives the rerank stage a judge
that hears order.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
import types
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.nn.phones import PhoneClassifier


@dataclass(frozen=True)
class RerankModelConfig:
    """Hyper-parameters. Tortoise's CLVP is width 768, layers 20, heads 12."""

    symbols: int = 42
    levels: tuple[int, ...] = (8, 5, 5, 5)
    phone_width: int = 160
    """the tokenizer's levels and width, for its phone classifier"""
    width: int = 128
    layers: int = 4
    heads: int = 4
    embedding: int = 128
    most_phones: int = 512
    most_codes: int = 1536

    @property
    def codes(self) -> int:
        """Size of the codebook."""
        return math.prod(self.levels)


def text_transformer() -> Any:
    """open_clip's TextTransformer, without running the package's __init__.

    That would import timm, transformers and the hub client: seconds on the way to a first sentence, for none of which a
    tower has any use.
    """
    if "open_clip" in sys.modules:
        return importlib.import_module("open_clip.transformer").TextTransformer
    found = importlib.util.find_spec("open_clip")
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError("open_clip is not installed; run `uv sync`")
    package = types.ModuleType("open_clip")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["open_clip"] = package
    try:
        return importlib.import_module("open_clip.transformer").TextTransformer
    finally:
        del sys.modules["open_clip"]


class RerankTowers(nn.Module):
    """Two bidirectional transformers with padding masks, pooled at a first class token, and a learned temperature."""

    NAMED_ROWS: ClassVar[dict[str, str]] = {
        name: "symbols"
        for name in ("text.token_embedding.weight", "phone_head.weight", "phone_head.bias",
                     "ears.phone_head.1.weight", "ears.phone_head.1.bias")
    }  # fmt: skip

    def __init__(self, config: RerankModelConfig) -> None:
        super().__init__()
        self.config = config
        tower = text_transformer()

        def make(context: int, vocabulary: int, tokens: bool) -> nn.Module:
            return tower(
                context_length=context + 1,
                vocab_size=vocabulary,
                width=config.width,
                heads=config.heads,
                layers=config.layers,
                output_dim=config.embedding,
                no_causal_mask=True,
                use_pad_mask=True,
                pool_type="first",
                pad_id=0,
                output_tokens=tokens,
            )

        # ids: 0 padding, 1.. symbols or codes, the last one the class token
        self.text = make(config.most_phones, config.symbols + 1, tokens=False)
        self.speech = make(config.most_codes, config.codes + 2, tokens=True)
        self.phone_head = nn.Linear(config.width, config.symbols)
        self.ears = PhoneClassifier(config.levels, config.phone_width, config.symbols).requires_grad_(False)
        self.log_scale = nn.Parameter(torch.tensor(2.659))  # 1 / 0.07, as CLIP

    @torch.no_grad()
    def start_from_phones(self) -> None:
        """Code embeddings that begin as each code's sound: its levels and the phones it could be, at random angles."""
        codes = torch.arange(self.config.codes)
        sound = self.ears(codes.unsqueeze(1).expand(-1, 5))[:, 2].log_softmax(-1).clamp_min(-8.0)
        sound = torch.cat((sound, self.ears.quantizer.decode(codes)), dim=-1)
        sound = (sound - sound.mean(0)) / sound.std(0).clamp_min(1e-3)
        turned = sound @ torch.randn(sound.shape[1], self.config.width) * (0.05 / sound.shape[1] ** 0.5)
        cast(nn.Embedding, self.speech.token_embedding).weight[1 : self.config.codes + 1] += turned

    def embed_text(self, phones: Tensor) -> Tensor:
        """phones (B, P) ids, 0 = padding -> unit vectors (B, E). Raises ValueError beyond `most_phones`."""
        return F.normalize(
            self.text(_with_class(phones, self.config.symbols, self.config.most_phones, "phones")), dim=-1
        )

    def hear(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """codes (B, N), -1 = padding -> unit vectors (B, E), phone logits at every code (B, N, symbols).

        Raises ValueError beyond `most_codes`.
        """
        pooled, tokens = self.speech(_with_class(codes + 1, self.config.codes + 1, self.config.most_codes, "codes"))
        return F.normalize(pooled, dim=-1), self.phone_head(tokens[:, 1:])

    def embed_speech(self, codes: Tensor) -> Tensor:
        """codes (B, N), -1 = padding -> unit vectors (B, E)."""
        return self.hear(codes)[0]

    @property
    def scale(self) -> Tensor:
        """Multiplier of cosines, at most 100."""
        return self.log_scale.clamp(max=4.6052).exp()


def _with_class(ids: Tensor, class_id: int, most: int, what: str) -> Tensor:
    """The class token before each row of ids (B, S)."""
    if ids.shape[1] > most:
        raise ValueError(
            f"{ids.shape[1]} {what} are more than the {most} the towers take; split the text into shorter sentences"
        )
    return torch.cat((torch.full((ids.shape[0], 1), class_id, device=ids.device), ids), dim=1)
