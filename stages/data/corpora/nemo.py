"""NVIDIA NeMo manifests: a JSON object a line with `audio_filepath`, `text`, `duration` and perhaps `speaker`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.data.corpora.rows import ListConfig, Rows, settled
from stages.data.corpora.tables import objects, string
from stages.data.recording import Problem, Recording


@dataclass(frozen=True)
class NemoConfig(ListConfig):
    """`configs/data/nemo.yaml`; `path` is the manifest."""

    root: str = ""
    """the folder that relative sound files start from (default: that of the manifest)"""


CorpusConfig = NemoConfig


def read(config: NemoConfig) -> Iterator[Recording | Problem]:
    """The objects of the manifest, in order. Raises ConfigError for a manifest that is none."""
    path = Path(config.path)
    rows = Rows(Path(config.root) if config.root else path.parent, config)
    found: list[Recording | Problem] = []
    for where, value in objects(path, ("audio_filepath", "text")):
        fault = value if isinstance(value, Problem) else _fault(value, where)
        if fault:
            found.append(fault)
        elif not isinstance(value, Problem):
            sound, text = string(value, "audio_filepath") or "", string(value, "text") or ""
            speaker, language = string(value, "speaker", "speaker_id"), string(value, "lang", "language")
            found.append(rows.row(where, sound, text, speaker, language, string(value, "id", "utt_id")))
    return settled(found, path)


def _fault(value: dict[str, Any], where: str) -> Problem | None:
    """What NeMo's further keys say against a row."""
    offset, duration = value.get("offset") or 0, value.get("duration")
    if offset != 0:
        detail = f"is a part of a longer sound (offset {offset!r}); cut it into a file of its own"
        return Problem(where, where, "segment", detail)
    number = isinstance(duration, (int, float)) and not isinstance(duration, bool)
    if duration is not None and not (number and 0 < duration < float("inf")):
        return Problem(where, where, "bad_duration", f"its duration {duration!r} is no time in seconds; correct it")
    return None
