"""What `batch` has spoken, or a prepared corpus, laid out as other programs take their training data."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows import outputs
from flows.outputs import OutputError
from stages.core.config import ConfigError
from stages.data import exports
from stages.data.exports import Exported, Item

Row = dict[str, Any]
"""of the manifest: id, text, voice; path (in the output folder) and duration, or the error; maybe title, spoken"""
IN_PLACE = {"jsonl": "nemo"}
"""exports whose list lies beside the spoken sounds and names them there -> the layout of that list"""


def kinds() -> list[str]:
    """What `batch --export` takes."""
    return [*exports.KINDS, *IN_PLACE]


def check(wanted: Sequence[str], name: str) -> None:
    """Refuses, before any work, kinds that are unknown or do not take the sound format. Raises OutputError."""
    for kind in wanted:
        if kind not in kinds():
            raise OutputError(f"unknown export {kind!r}; use one of {', '.join(kinds())}")
        formats = [f for f in outputs.NAMES if f in exports.KINDS[IN_PLACE.get(kind, kind)].formats]
        if name not in formats:
            raise OutputError(f"the export {kind!r} takes {', '.join(formats)}, not {name}; use --format {formats[0]}")


def export(kind: str, out: Path, rows: Sequence[Row]) -> Exported:
    """Exports the rows of the manifest of `out`; unspoken ones and those the format cannot hold are in `skipped`.

    Of several voices, a layout that names no speaker gets the one that spoke most; the others are in `skipped`.

    Raises:
        OutputError: the kind is unknown, a sound has the wrong format, or there is no room or right to write.
    """
    spoken = [row for row in rows if row.get("path")]
    for row in spoken:
        check([kind], Path(row["path"]).suffix[1:])
    skipped = {row["id"]: str(row.get("error") or "was not spoken") for row in rows if not row.get("path")}
    if not exports.KINDS[IN_PLACE.get(kind, kind)].speakers:
        voices = [row["voice"] for row in spoken]
        most = max(sorted(set(voices)), key=voices.count, default=None)
        reason = f"its voice is not {most!r}, and {kind} holds one speaker"
        skipped |= {row["id"]: reason for row in spoken if row["voice"] != most}
        spoken = [row for row in spoken if row["voice"] == most]
    items = [_item(row, out) for row in spoken]
    try:
        if kind in IN_PLACE:
            exported = exports.export(IN_PLACE[kind], items, out, place=out)
        else:
            exported = exports.export(kind, items, out / kind)
    except ConfigError as error:
        raise OutputError(str(error)) from None
    exported.skipped |= skipped
    return exported


def _item(row: Row, out: Path) -> Item:
    text = " ".join(f"{row.get('title') or ''} {row['text']}".split())  # a chapter's title is spoken too
    words = row.get("spoken")
    spoken = None if words is None else " ".join(words)
    return Item(row["id"], out / row["path"], text, row["voice"], row["duration"], spoken=spoken)


def main(manifest: str, kind: str, out: str, speaker: str | None = None) -> int:
    """What `caretta export` does; 0 when every row is written, 3 when some are not, 1 when none is.

    Raises:
        ConfigError: a bad manifest, an unknown kind or speaker, or a place that cannot be written.
    """
    from stages.core.config import near_miss
    from stages.data.manifest import read_manifest

    exports.find(kind)
    items = exports.from_manifest(read_manifest(manifest))
    speakers = {item.speaker for item in items}
    if speaker is not None and speaker not in speakers:
        raise ConfigError(f"{manifest}: there is no speaker {speaker!r}{near_miss(speaker, speakers)}")
    if speaker is not None:
        items = [item for item in items if item.speaker == speaker]
    done = exports.export(kind, items, Path(out))
    for name, reason in list(done.skipped.items())[:20]:
        print(f"caretta: {name} left out: {reason}", file=sys.stderr)
    if len(done.skipped) > 20:
        print(f"caretta: and {len(done.skipped) - 20} more", file=sys.stderr)
    print(f"{done.path}: {len(items)} utterances = {done.written} written + {len(done.skipped)} left out")
    return 0 if not done.skipped else 3 if done.written else 1
