"""MeloTTS: a list with `path|speaker|language|text` a line (or its `.cleaned` form, with three more columns)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.data.corpora.rows import Rows, SourceConfig, settled
from stages.data.corpora.tables import columns
from stages.data.recording import Problem, Recording


@dataclass(frozen=True)
class MelottsConfig(SourceConfig):
    """`configs/data/melotts.yaml`; `path` is the list."""

    root: str = ""
    """the folder that relative sound files start from (default: that of the list)"""


CorpusConfig = MelottsConfig


def read(config: MelottsConfig) -> Iterator[Recording | Problem]:
    """The rows of the list, in order. Raises ConfigError for a list that is none."""
    path = Path(config.path)
    rows = Rows(Path(config.root) if config.root else path.parent, config)
    found: list[Recording | Problem] = []
    for where, parts in columns(path, (4, 7), "path|speaker|language|text"):
        if isinstance(parts, Problem):
            found.append(parts)
        else:
            sound, speaker, language, text = parts[:4]
            found.append(rows.row(where, sound, text, speaker, language))
    return settled(found, path)
