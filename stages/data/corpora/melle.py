"""MELLE lists: a JSON object a line with `transcription` and `audio_path`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.data.corpora.rows import ListConfig, Rows, settled
from stages.data.corpora.tables import objects, string
from stages.data.recording import Problem, Recording


@dataclass(frozen=True)
class MelleConfig(ListConfig):
    """`configs/data/melle.yaml`; `path` is the list."""

    root: str = ""
    """the folder that relative sound files start from (default: that of the list)"""


CorpusConfig = MelleConfig


def read(config: MelleConfig) -> Iterator[Recording | Problem]:
    """The objects of the list, in order. Raises ConfigError for a list that is none."""
    path = Path(config.path)
    rows = Rows(Path(config.root) if config.root else path.parent, config)
    found: list[Recording | Problem] = []
    for where, value in objects(path, ("transcription", "audio_path")):
        if isinstance(value, Problem):
            found.append(value)
            continue
        sound, text = string(value, "audio_path") or "", string(value, "transcription") or ""
        found.append(
            rows.row(where, sound, text, string(value, "speaker"), string(value, "language"), string(value, "id"))
        )
    return settled(found, path)
