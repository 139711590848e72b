"""The tensors of transformers' `VitsModel` as those of our model: strictly, in whatever form they are stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stages.core.checkpoint import CheckpointError
from stages.vits.huggingface_layout import CONFIG, TheirConfig
from stages.vits.huggingface_names import sources
from stages.vits.model import Vits, VitsModelConfig


@dataclass(frozen=True)
class Weight:
    """A stored weight: plain, or direction and length of its weight norm."""

    direction: Tensor
    length: Tensor | None = None

    def plain(self) -> Tensor:
        """The weight itself."""
        return self.direction if self.length is None else self.direction * (self.length / _norm(self.direction))

    def normed(self) -> tuple[Tensor, Tensor]:
        """Length and direction. A weight of zeros has the length 0 and any direction but zero."""
        if self.length is not None:
            return self.length, self.direction
        length = _norm(self.direction)
        return length, torch.where(length > 0, self.direction, torch.ones_like(self.direction))


def _norm(weight: Tensor) -> Tensor:
    """Over all but the first dimension, kept: torch's weight norm with dim 0."""
    return weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.dim() - 1))


NORM_PARTS = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))
"""length and direction of a weight norm, as older and newer versions of torch store them"""


def _weights(stored: dict[str, Tensor], where: Path) -> dict[str, Weight]:
    """Stored tensors by plain name. Raises CheckpointError for half a weight norm."""
    out, rest = {}, dict(stored)
    for length, direction in NORM_PARTS:
        for name in [name for name in stored if name.endswith(f".{length}") or name.endswith(f".{direction}")]:
            module = name.removesuffix(f".{length}").removesuffix(f".{direction}")
            pair = [rest.pop(f"{module}.{part}", None) for part in (direction, length)]
            if pair == [None, None]:
                continue  # its other half came first
            if pair[0] is None or pair[1] is None:
                raise CheckpointError(
                    f"{where}: {name!r} is half of a weight norm, the other half is missing; restore it"
                )
            out[f"{module}.weight"] = Weight(pair[0], pair[1])
    return {name: Weight(tensor) for name, tensor in rest.items()} | out


def translated(
    stored: dict[str, Tensor], config: VitsModelConfig, theirs: TheirConfig, where: Path
) -> dict[str, Tensor]:
    """Our model's state from their tensors.

    Raises:
        CheckpointError: a tensor that is missing, over, not finite or of another size; it is named.
    """
    try:
        with torch.device("meta"):  # names and sizes alone
            wanted = Vits(config).state_dict()
    except ValueError as error:
        raise CheckpointError(f"{where.with_name(CONFIG)}: {error}") from None
    weights, unused, out = _weights(stored, where), set[str](), dict[str, Tensor]()
    unused.update(weights)
    places = sources(config, theirs.use_bias)
    for name, like in wanted.items():
        module, normed, part = name.partition(".parametrizations.weight.original")
        found = places[f"{module}.weight" if normed else name]
        for source in found:
            if source not in weights:
                raise CheckpointError(f"{where}: there is no {source!r}, which {CONFIG} asks for; restore the folder")
        unused.difference_update(found)
        pieces = [weights[source].normed()[int(part)] if normed else weights[source].plain() for source in found]
        out[name] = _fitting(torch.cat(pieces) if pieces else torch.zeros(like.shape), like, found, where)
    unused -= _unheard(weights, theirs)
    if unused:
        raise CheckpointError(
            f"{where}: {_listed(unused)}: not a part of the model that {CONFIG} describes; restore the folder"
        )
    return out


def _fitting(tensor: Tensor, like: Tensor, found: tuple[str, ...], where: Path) -> Tensor:
    if tensor.squeeze().shape != like.squeeze().shape:
        raise CheckpointError(
            f"{where}: {_listed(found)}: of size {tuple(tensor.shape)}, where {CONFIG} asks for {tuple(like.shape)}; "
            "restore the folder"
        )
    if not tensor.isfinite().all():
        raise CheckpointError(f"{where}: {_listed(found)}: has numbers that are not finite; restore the folder")
    return tensor.reshape(like.shape)


def _unheard(names: Iterable[str], theirs: TheirConfig) -> set[str]:
    """What one speaker's model may hold and never uses: layers for a speaker's vector that nothing can give it."""
    if theirs.num_speakers > 1 or not theirs.speaker_embedding_size:
        return set()
    return {name for name in names if name.split(".")[-2] in ("cond", "cond_layer")}


def _listed(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
