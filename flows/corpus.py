"""Reads a text corpus (txt, jsonl, csv) and refuses a bad one before any work, with file, line and mend."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COLUMNS = ("id", "text", "voice")
LONGEST_LINE = 1_000_000
"""characters"""
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_RESERVED = ("manifest.jsonl", "config.yaml")


class CorpusError(ValueError):
    """A corpus that cannot be used; the message names the file, the line and the mend."""


@dataclass(frozen=True)
class Line:
    """One utterance asked for."""

    id: str
    """also the name of its sound file, without the ending"""
    text: str
    voice: str | None = None
    """None: the voice of the run"""


def read_corpus(path: str | Path) -> list[Line]:
    """The lines of a corpus, in order. Raises CorpusError for anything that cannot be used as it stands."""
    path = Path(path)
    readers = {".txt": _txt, ".jsonl": _jsonl, ".csv": _csv}
    if path.suffix.lower() not in readers:
        raise CorpusError(f"{path}: a corpus is a .txt, .jsonl or .csv file; rename or convert it")
    text = decode(_bytes(path), str(path))
    lines: list[Line] = []
    seen: dict[str, int] = {}
    for number, line in readers[path.suffix.lower()](text, path):
        _check(line, f"{path}: line {number}")
        folded = line.id.lower()  # two ids that differ in case alone are one file on some systems
        if folded in seen:
            raise CorpusError(
                f"{path}: line {number}: id {line.id!r} is already that of line {seen[folded]}; give every line its own"
            )
        seen[folded] = number
        lines.append(line)
    if not lines:
        raise CorpusError(f"{path}: holds no text; put one utterance on each line")
    return lines


def decode(data: bytes, where: str) -> str:
    """UTF-8 text, with or without a byte order mark. Raises CorpusError naming the line that is not UTF-8."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CorpusError(f"{where}: is UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CorpusError(
            f"{where}: line {line}: is not UTF-8 (byte {data[error.start]:#04x}); save it as UTF-8"
        ) from None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such file; name a .txt, .jsonl or .csv file") from None
    except (OSError, ValueError) as error:
        raise CorpusError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); name a file that can"
        ) from None


def _check(line: Line, where: str) -> None:
    if not _ID.fullmatch(line.id) or line.id in _RESERVED:
        shown = line.id if len(line.id) <= 40 else line.id[:40] + "…"
        raise CorpusError(
            f"{where}: id {shown!r} cannot name a file; use 1 to 100 letters, digits, '_', '-' and '.', "
            "without a '.' in front"
        )
    if not line.text.strip():
        raise CorpusError(f"{where}: its text is empty; give text or remove the line")
    if len(line.text) > LONGEST_LINE:
        raise CorpusError(
            f"{where}: its text has {len(line.text)} characters; split it into lines of at most {LONGEST_LINE}"
        )


def _txt(text: str, path: Path) -> Iterator[tuple[int, Line]]:
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if line.strip():  # empty lines part the text and say nothing
            yield number, Line(f"{number:0{max(4, len(str(len(lines))))}d}", line.strip())


def _jsonl(text: str, path: Path) -> Iterator[tuple[int, Line]]:
    for number, row in enumerate(text.split("\n"), 1):
        if not row.strip():
            continue
        where = f"{path}: line {number}"
        try:
            value = json.loads(row)
        except (json.JSONDecodeError, RecursionError) as error:
            reason = getattr(error, "msg", "nested too deeply")
            raise CorpusError(f'{where}: is not JSON ({reason}); write {{"id": "…", "text": "…"}}') from None
        if not isinstance(value, dict):
            raise CorpusError(f'{where}: must be an object, {{"id": "…", "text": "…"}}, not a {type(value).__name__}')
        yield number, _line(value, where)


def _csv(text: str, path: Path) -> Iterator[tuple[int, Line]]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    while True:
        start = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise CorpusError(
                f"{path}: line {start}: is not CSV ({error}); quote fields that hold commas or quotes"
            ) from None
        if not row:
            continue
        if header is None:
            header = [name.strip() for name in row]
            _check_header(header, f"{path}: line {start}")
            continue
        if len(row) != len(header):
            raise CorpusError(
                f"{path}: line {start}: has {len(row)} fields, the header {len(header)}; quote text that holds commas"
            )
        yield (
            start,
            _line({k: v for k, v in zip(header, row, strict=True) if k != "voice" or v}, f"{path}: line {start}"),
        )


def _check_header(header: list[str], where: str) -> None:
    unknown = [name for name in header if name not in COLUMNS]
    if unknown:
        raise CorpusError(f"{where}: unknown column {unknown[0]!r}; the header is id,text (and voice, if you like)")
    if "id" not in header or "text" not in header or len(set(header)) != len(header):
        raise CorpusError(f"{where}: the header must name id and text once each, as in id,text")


def _line(value: dict[str, Any], where: str) -> Line:
    for name, content in value.items():
        if name not in COLUMNS:
            raise CorpusError(f"{where}: unknown column {name!r}; use id, text and voice")
        if not isinstance(content, str):
            raise CorpusError(f"{where}: {name} must be a string, not {content!r:.40}")
    for name in ("id", "text"):
        if name not in value:
            raise CorpusError(f"{where}: has no {name}; give id and text")
    return Line(value["id"], value["text"], value.get("voice"))
