"""Hugging Face audiofolder: sounds, and beside them `metadata.csv` or `metadata.jsonl` with a `file_name` each.

The folder may be parted into splits (`train/metadata.csv`, `validation/…`); all of them are read.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.config import ConfigError, near_miss
from stages.data.corpora.rows import ListConfig, Rows, existing_folder, settled
from stages.data.corpora.tables import objects, read_text, string
from stages.data.recording import Problem, Recording

_TEXT = ("text", "transcription", "transcript", "sentence", "normalized_text")


@dataclass(frozen=True)
class AudiofolderConfig(ListConfig):
    """`configs/data/audiofolder.yaml`; `path` is the folder."""

    text: str = ""
    """the transcript's column (default: the first of text, transcription, transcript, sentence, normalized_text)"""


CorpusConfig = AudiofolderConfig


def read(config: AudiofolderConfig) -> Iterator[Recording | Problem]:
    """The rows of every metadata file, in order of their paths. Raises ConfigError for what is no audiofolder."""
    folder = existing_folder(config.path, "name the folder of metadata.csv or metadata.jsonl")
    lists = sorted(p for pattern in ("metadata.csv", "metadata.jsonl", "*/metadata.csv", "*/metadata.jsonl")
                   for p in folder.glob(pattern))  # fmt: skip
    if not lists:
        raise ConfigError(f"{folder}: holds neither metadata.csv nor metadata.jsonl (nor does a folder in it)")
    if len({p.parent for p in lists}) < len(lists):
        raise ConfigError(f"{lists[0].parent}: holds both metadata.csv and metadata.jsonl; keep one")
    rows = Rows(folder, config)
    found = [item for path in lists for item in _read(path, rows, folder, config)]
    return settled(found, folder)


def _read(path: Path, rows: Rows, folder: Path, config: AudiofolderConfig) -> Iterator[Recording | Problem]:
    inside = path.parent.relative_to(folder)
    for where, value in _csv(path) if path.suffix == ".csv" else objects(path, ("file_name",)):
        if isinstance(value, Problem):
            yield value
            continue
        text = next((key for key in ([config.text] if config.text else _TEXT) if key in value), None)
        if text is None:
            wanted = config.text or "text"
            detail = f"has no {wanted!r}{near_miss(wanted, map(str, value))}; set `text` to the transcript's column"
            yield Problem(where, where, "missing_key", detail)
            continue
        name = string(value, "file_name") or ""
        yield rows.row(
            where, name if Path(name).is_absolute() or not name else str(inside / name), string(value, text) or "",
            string(value, "speaker", "speaker_id"), string(value, "language", "lang"), string(value, "id"),
        )  # fmt: skip


def _csv(path: Path) -> Iterator[tuple[str, dict[str, Any] | Problem]]:
    """Rows of a CSV file with a header and quotes (RFC 4180)."""
    reader = csv.reader(io.StringIO(read_text(path, "it names file_name and text"), newline=""), strict=True)
    header: list[str] = []
    while True:
        where = f"{path}:{reader.line_num + 1}"
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise ConfigError(f"{where}: is not CSV ({error}); quote texts that hold commas or quotes") from None
        if row is None:
            return
        if not header and row:
            header = [name.strip() for name in row]
            if "file_name" not in header:
                raise ConfigError(f"{where}: its header has no file_name{near_miss('file_name', header)}")
        elif row and len(row) != len(header):
            detail = f"has {len(row)} fields, the header {len(header)}; quote texts that hold commas"
            yield where, Problem(where, where, "wrong_columns", detail)
        elif row:
            yield where, dict(zip(header, row, strict=True))
