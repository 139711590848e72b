"""A manifest of ours (`manifest.jsonl`), such as the rendered starter corpus: prepared again, phone timings and all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.data.corpora.rows import ListConfig, Rows, settled
from stages.data.corpora.tables import objects, string
from stages.data.recording import Problem, Recording


@dataclass(frozen=True)
class ManifestConfig(ListConfig):
    """`path` is the manifest."""


CorpusConfig = ManifestConfig


def read(config: ManifestConfig) -> Iterator[Recording | Problem]:
    """The rows of the manifest, in order. Raises ConfigError for what is no manifest."""
    path = Path(config.path)
    rows = Rows(path.parent, config)
    found: list[Recording | Problem] = []
    for where, value in objects(path, ("id", "audio", "text")):
        if isinstance(value, Problem):
            found.append(value)
            continue
        phones = _phones(value.get("phones"))
        if phones is None:
            detail = "its phones are no list of [symbol, end in seconds] with growing ends; remove them"
            found.append(Problem(str(value["id"]), where, "bad_phones", detail))
            continue
        found.append(
            rows.row(
                where, string(value, "audio") or "", string(value, "text") or "", string(value, "speaker"),
                string(value, "language"), str(value["id"]), phones,
            )
        )  # fmt: skip
    return settled(found, path)


def _phones(value: Any) -> tuple[tuple[str, float], ...] | None:
    """(symbol, end in seconds) of every phone; None when they are no timings."""
    try:
        phones = tuple((str(symbol), float(end)) for symbol, end in value or ())
    except (TypeError, ValueError):
        return None
    ends = [0.0, *(end for _, end in phones)]
    return phones if all(a <= b for a, b in zip(ends, ends[1:], strict=False)) else None
