"""VITS checkpoints in the layout of transformers' `VitsModel` (facebook/mms-tts-*, kakao's vits-*) as our own.

A folder holds config.json, model.safetensors, vocab.json and tokenizer_config.json. Every tensor of theirs is used and
every one of ours filled, or the conversion is refused by name; given the same noise the waveform is the same.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from stages.core import checkpoint
from stages.core.checkpoint import CheckpointError
from stages.core.config import ConfigError, build
from stages.vits.huggingface_layout import CONFIG, TheirConfig, model_config
from stages.vits.huggingface_weights import translated
from stages.vits.model import VitsModelConfig
from stages.vits.tokens import Reads

WEIGHTS, VOCABULARY, TOKENIZER = "model.safetensors", "vocab.json", "tokenizer_config.json"
UNKNOWN_LICENCE = "unknown: ask its owner"


@dataclass(frozen=True)
class Converted:
    """What was made of a folder."""

    config: VitsModelConfig
    reads: Reads
    parameters: int
    licence: str
    defaults: dict[str, float]
    """speed, noise_scale and noise_scale_w, as its owner set them"""


def convert(folder: str | Path, out: str | Path, licence: str = "") -> Converted:
    """Writes the checkpoint of stage `vits` that speaks as transformers' does.

    Args:
        licence: of the weights, as their owner states it.

    Raises:
        CheckpointError: a file that is missing or damaged, an architecture that is not built here, weights that do not
            fit config.json. Nothing is written then.
    """
    folder, out = Path(folder), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out}: is there already; name a folder that is not")
    theirs = read_config(folder)
    names, reads = read_tokenizer(folder, theirs.vocab_size)
    try:
        config = model_config(theirs, reads)
    except ValueError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from None
    tensors = translated(_tensors(folder), config, theirs, folder / WEIGHTS)
    licence = licence or UNKNOWN_LICENCE
    named = {"symbols": list(names)} | ({"speakers": list(config.speakers)} if config.speakers else {})
    meta = {
        "stage": "vits", "step": 0, "licence": licence, "data": "", "metrics": {},
        "converted_from": "transformers VitsModel", "audio": config.audio.digest, "names": named,
        "reads": dataclasses.asdict(reads), "defaults": theirs.controls,
    }  # fmt: skip
    checkpoint.write(out, tensors, config, meta)
    return Converted(config, reads, sum(t.numel() for t in tensors.values()), licence, theirs.controls)


def read_config(folder: Path) -> TheirConfig:
    """The architecture that config.json describes; its other fields are transformers' own. Raises CheckpointError."""
    values = _json(folder / CONFIG)
    if values.get("model_type") != "vits":
        raise CheckpointError(f"{folder / CONFIG}: model_type is {values.get('model_type')!r}; give one of 'vits'")
    known = {field.name for field in dataclasses.fields(TheirConfig)}
    try:
        return build(TheirConfig, {k: v for k, v in values.items() if k in known}, str(folder / CONFIG))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def read_tokenizer(folder: Path, rows: int) -> tuple[tuple[str, ...], Reads]:
    """The symbols in the order of the embedding table's `rows`, and how text becomes them. Raises CheckpointError."""
    table, says = _json(folder / VOCABULARY), _json(folder / TOKENIZER)
    names = [f"<row {i}>" for i in range(rows)]  # rows without a symbol: never read
    for symbol, row in table.items():
        if not symbol or type(row) is not int or not 0 <= row < rows:
            raise CheckpointError(
                f"{folder / VOCABULARY}: {symbol!r} has row {row!r}; rows are 0 to {rows - 1}, each with a symbol"
            )
        names[row] = symbol
    if len(set(table.values())) < len(table):
        raise CheckpointError(f"{folder / VOCABULARY}: two symbols have the same row; restore the file")
    if says.get("tokenizer_class", "VitsTokenizer") != "VitsTokenizer":
        raise CheckpointError(f"{folder / TOKENIZER}: is of a {says['tokenizer_class']}; give a VitsTokenizer's")
    # its own defaults where the file says nothing
    unknown, pad = (_content(says.get(f"{name}_token", f"<{name}>")) for name in ("unk", "pad"))
    more = [_content(token) for token in (says.get("added_tokens_decoder") or {}).values()]
    special = tuple(token for token in dict.fromkeys([pad, unknown, *more]) if token in table)
    values = {
        "unit": "phonemes" if says.get("phonemize", True) else "characters",
        "language": says.get("language") or "",
        "add_blank": says.get("add_blank", True),
        "normalise": says.get("normalize", True),
        "romanise": says.get("is_uroman", False),
        "unknown": unknown if unknown in table else "",
        "special": special,
    }
    try:
        return tuple(names), build(Reads, values, str(folder / TOKENIZER))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def _content(token: Any) -> str:
    """A special token's text, which tokenizer_config.json may wrap in an object."""
    return str(token.get("content", "") if isinstance(token, dict) else token)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: is not there; give a folder with {CONFIG}, {WEIGHTS}, {VOCABULARY} and {TOKENIZER}"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); restore it") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: must hold a JSON object; restore it")
    return value


def _tensors(folder: Path) -> dict[str, Tensor]:
    """The stored tensors as float32, by name. Raises CheckpointError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / WEIGHTS
    if not path.exists():
        pickled = sorted(p.name for p in folder.glob("*.bin"))
        why = f"{pickled[0]} is a pickle, which is never loaded: save the model again" if pickled else "save the model"
        raise CheckpointError(f"{folder}: has no {WEIGHTS}; {why} with transformers' save_pretrained")
    try:
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); restore it") from None
