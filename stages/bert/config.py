"""What the bert stage is asked for, and what it needs and gives; importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stages.core.stage import StageSpec
from stages.core.types import Phonemes, WordVectors
from stages.nn.words import model_digest


@dataclass(frozen=True)
class BertConfig:
    """`bert.*` of `--set`."""

    model: str = ""
    """folder of a transformers encoder (config.json, model.safetensors, tokenizer.json): the one that the acoustic
    model was trained with; none is shipped"""


def _content(config: BertConfig) -> dict[str, Any]:
    """The encoder by what is in its folder, wherever that is. Raises ConfigError when there is none."""
    return {"model": model_digest(config.model)}


SPEC = StageSpec(
    "bert",
    1,
    BertConfig,
    needs=(Phonemes,),
    gives=WordVectors,
    random=False,
    content=_content,
    batch=16,
    memory_gb=2.0,
)
