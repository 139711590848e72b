"""Fine-tuning: a fresh model that starts from the weights of a checkpoint, matched by name and never by position.

Tensors are matched by parameter name. Rows that stand for the entries of a list (phone embeddings, phone classifiers, a
speaker table: a model names them in `NAMED_ROWS`) are matched by the entry's own name, which the checkpoint's meta
holds under `names`; so a symbol table or a list of speakers may grow, shrink or change its order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core import checkpoint, symbols
from stages.core.config import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.training.objective import Objective

SHOWN = 8
"""names that a line of the report lists"""


@dataclass(frozen=True)
class Carried:
    """What became of every tensor of the model and of the checkpoint, by parameter name."""

    source: str
    whole: tuple[str, ...] = ()
    rows: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)
    """by parameter: (entries carried over by name, entries that stay fresh)"""
    fresh: tuple[str, ...] = ()
    """parameters that the checkpoint does not have, or has in another shape"""
    unused: tuple[str, ...] = ()
    weights: int = 0
    """numbers that were carried over"""
    total: int = 0
    """numbers of the model"""

    def text(self) -> str:
        """The report: a line each for what was carried over, mapped by name, left fresh and not used."""
        lines = [
            f"init_from {self.source}: {self.weights:,} of {self.total:,} weights carried over",
            f"  carried over: {_listed(self.whole)}",
            *(f"  mapped by name: {name}: {_listed(kept)}; fresh: {_listed(new)}"
              for name, (kept, new) in self.rows.items()),
            f"  fresh: {_listed(self.fresh)}",
            f"  in the checkpoint but unused: {_listed(self.unused)}",
        ]  # fmt: skip
        return "\n".join(lines)


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} ({', '.join(names[:SHOWN])}{more})"


def initialise(objective: Objective, folder: str | Path) -> Carried:
    """Puts what fits of the checkpoint in `folder` into the objective's fresh model.

    Raises:
        CheckpointError: no checkpoint, a damaged one, or one of another stage.
        ConfigError: one of another AudioSpec or of another tokenizer's codes, or of which nothing fits.
    """
    found = checkpoint.read(folder, objective.stage)
    facts = objective.meta()
    _check_audio(found, facts, objective.config)
    if facts.get("codebook") and found.meta.get("codebook", facts["codebook"]) != facts["codebook"]:
        raise ConfigError(
            f"init_from {folder}: knows the codes of another tokenizer; set objective.codes to the tokenizer that it "
            "was trained with, or train without init_from"
        )
    carried = carry(objective.model, found.tensors, names_in(facts), names_in(found.meta), str(folder))
    if not carried.weights:
        raise ConfigError(
            f"init_from {folder}: not one of its {len(found.tensors)} tensors fits this network; "
            "give network the sizes of its config.yaml, or train without init_from"
        )
    return carried


def _check_audio(found: checkpoint.Checkpoint, facts: Mapping[str, Any], config: Any) -> None:
    own, theirs = facts.get("audio"), found.meta.get("audio")
    if own is None or theirs is None or own == theirs:
        return
    spec = found.config.get("audio")
    given = getattr(config, "audio", None)
    differ = [f"{k} {v}, here {getattr(given, k)}" for k, v in (spec if isinstance(spec, dict) else {}).items()
              if getattr(given, k, v) != v]  # fmt: skip
    raise ConfigError(
        f"init_from {found.folder}: was trained on another AudioSpec ({'; '.join(differ) or 'not said which'}); "
        "set audio to its values, or train without init_from"
    )


def names_in(meta: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The lists that a meta names, by list; a symbol table known by its digest alone is ours when the digest is."""
    kept = meta.get("names", {})
    found = {str(k): tuple(map(str, v)) for k, v in (kept if isinstance(kept, dict) else {}).items()}
    if "symbols" not in found and meta.get("symbols") == symbols.DIGEST:
        found["symbols"] = symbols.SYMBOLS
    return found


def carry(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    own_names: Mapping[str, Sequence[str]],
    their_names: Mapping[str, Sequence[str]],
    source: str = "checkpoint",
) -> Carried:
    """Copies tensors into `model`: whole where name and shape are the same, row by row where rows have names.

    Args:
        own_names, their_names: entries of each list, in the order of the rows, here and in the checkpoint.
    """
    import torch

    named: Mapping[str, str] = getattr(model, "NAMED_ROWS", {})
    state = model.state_dict()
    parameters = {name for name, _ in model.named_parameters()}
    whole, fresh, weights = [], [], 0
    rows: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    with torch.no_grad():
        for name, own in state.items():
            given, kind = tensors.get(name), named.get(name)
            here, there = own_names.get(kind or "", ()), their_names.get(kind or "", ())
            if given is None or own.shape[1:] != given.shape[1:] or own.ndim != given.ndim:
                fresh.append(name)
            elif kind is not None and tuple(here) != tuple(there):
                pairs = row_pairs(here, there, len(own), len(given))
                for ours, theirs in pairs:
                    own[ours].copy_(given[theirs])
                taken = {ours for ours, _ in pairs}
                if not taken:
                    fresh.append(name)
                    continue
                label = [*here, *(f"special {i + 1}" for i in range(len(own) - len(here)))]
                split = [tuple(n for i, n in enumerate(label) if (i in taken) is kept) for kept in (True, False)]
                rows[name] = (split[0], split[1])
                weights += len(taken) * own[0].numel() * (name in parameters)
            elif own.shape == given.shape:
                own.copy_(given)
                whole.append(name)
                weights += own.numel() * (name in parameters)
            else:
                fresh.append(name)
    used = {*whole, *rows}
    total = sum(p.numel() for p in model.parameters())
    unused = tuple(name for name in tensors if name not in used)
    return Carried(source, tuple(whole), rows, tuple(fresh), unused, weights, total)


def row_pairs(here: Sequence[str], there: Sequence[str], own: int, given: int) -> list[tuple[int, int]]:
    """(row here, row there) of every entry that both lists name.

    Rows after the list's are special tokens: they keep their order when both sides have the same number of them. A list
    that is not known on one side pairs nothing.
    """
    if not here or not there or own < len(here) or given < len(there):
        return []
    place = {name: row for row, name in enumerate(there)}
    pairs = [(row, place[name]) for row, name in enumerate(here) if name in place]
    if own - len(here) == given - len(there):
        pairs += [(len(here) + i, len(there) + i) for i in range(own - len(here))]
    return pairs
