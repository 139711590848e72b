"""What `batch` has spoken, laid out as other programs take their training data."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows import outputs
from flows.outputs import OutputError
from stages.core.files import partial_path

Row = dict[str, Any]
"""of the manifest: id, text, voice; path (in the output folder) and duration, or the error; maybe title, spoken"""


@dataclass
class Exported:
    """What an export holds, and what it lacks."""

    path: Path
    """the list of what was written"""
    written: int = 0
    """utterances"""
    skipped: dict[str, str] = field(default_factory=dict)
    """id -> reason"""


def check(kinds: Sequence[str], name: str) -> None:
    """Refuses, before any work, kinds that are unknown or do not take the sound format. Raises OutputError."""
    for kind in kinds:
        formats = _kind(kind).formats
        if name not in formats:
            raise OutputError(f"the export {kind!r} takes {', '.join(formats)}, not {name}; use --format {formats[0]}")


def export(kind: str, out: Path, rows: Sequence[Row]) -> Exported:
    """Exports the rows of the manifest of `out`; unspoken ones and those the format cannot hold are in `skipped`.

    Raises:
        OutputError: the kind is unknown, a sound has the wrong format, or there is no room or right to write.
    """
    spoken = [row for row in rows if row.get("path")]
    for row in spoken:
        check([kind], Path(row["path"]).suffix[1:])
    exported = _kind(kind).write(out, spoken)
    exported.skipped |= {row["id"]: str(row.get("error") or "was not spoken") for row in rows if not row.get("path")}
    return exported


def ljspeech(out: Path, rows: Sequence[Row]) -> Exported:
    """`ljspeech/metadata.csv` (`id|text|spoken words`) and `ljspeech/wavs`, as the LJ Speech dataset has them."""
    exported = Exported(out / "ljspeech" / "metadata.csv")
    wavs = out / "ljspeech" / "wavs"
    outputs.make_folder(wavs)
    lines = []
    for row in rows:
        text = _transcript(row)
        if "|" in text:
            exported.skipped[row["id"]] = "its text holds '|', which parts the columns"
            continue
        _link(out / row["path"], wavs / f"{row['id']}.wav")
        words = row.get("spoken")
        lines.append(f"{row['id']}|{text}|{text if words is None else ' '.join(words)}\n")
    return _written(exported, lines)


def jsonl(out: Path, rows: Sequence[Row]) -> Exported:
    """`train.jsonl`: a JSON object per utterance, as NVIDIA NeMo's manifests; paths start from the file's folder."""
    lines = [
        json.dumps(
            {
                "audio_filepath": row["path"],
                "text": _transcript(row),
                "duration": row["duration"],
                "speaker": row["voice"],
            },
            ensure_ascii=False,
        )
        + "\n"
        for row in rows
    ]
    return _written(Exported(out / "train.jsonl"), lines)


def _transcript(row: Row) -> str:
    """All that is spoken, a chapter's title too, on one line."""
    return " ".join(f"{row.get('title') or ''} {row['text']}".split())


def _written(exported: Exported, lines: list[str]) -> Exported:
    outputs.write_file(exported.path, "".join(lines).encode("utf-8"))
    exported.written = len(lines)
    return exported


def _link(sound: Path, target: Path) -> None:
    """Makes `target` the same file as `sound`, or a copy where the file system has no hard links."""
    try:
        if target.exists() and target.samefile(sound):
            return
        partial = partial_path(target)
        try:
            try:
                os.link(sound, partial)
            except OSError:
                shutil.copyfile(sound, partial)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{target}: cannot be written ({error.strerror or error}); name a place with room and rights"
        ) from None


@dataclass(frozen=True)
class Kind:
    """A layout that can be exported."""

    write: Callable[[Path, Sequence[Row]], Exported]
    formats: tuple[str, ...]
    """of the sounds that it takes"""


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise OutputError(f"unknown export {name!r}; use one of {', '.join(KINDS)}")
    return KINDS[name]


KINDS = {"ljspeech": Kind(ljspeech, ("wav",)), "jsonl": Kind(jsonl, outputs.NAMES)}
