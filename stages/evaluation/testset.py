"""Test sets: a list of (id, text), from a text file, a table, or the metadata of a corpus."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.checkpoint import locate
from stages.core.config import ConfigError

ENDINGS = (".txt", ".csv", ".tsv", ".jsonl")


@dataclass(frozen=True)
class Line:
    """One line of a list; ids never become paths."""

    id: str
    text: str
    number: int
    """of the line in the file, from 1"""


def read_list(path: str, what: str = "sentences") -> list[Line]:
    """Every item of a UTF-8 list, those without text too (`text` is then '').

    .txt: a text a line, with the number of its line as its id (0001…); .jsonl: objects with `id` and `text`; .csv and
    .tsv: with a header that names `id` and `text`; .csv with `|` and no header: LJSpeech's `id|text` or
    `id|text|spoken text`.

    Raises:
        ConfigError: not named, missing, unreadable, empty, or a line that is none (its number is named).
    """
    if not path:
        raise ConfigError(f"{what} is not set; name a text file with one sentence a line, or a table of id and text")
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise ConfigError(f"{path}: {what} are read from {', '.join(ENDINGS)}; save it as one of these")
    lines = list(_READERS[ending](path, _text(path, what)))
    if not lines:
        raise ConfigError(f"{path}: holds no {what}; put one on each line")
    first: dict[str, Line] = {}
    for line in lines:
        if line.id in first:
            raise ConfigError(
                f"{path}: lines {first[line.id].number} and {line.number} have one id, {line.id!r}; give each its own"
            )
        first[line.id] = line
    return lines


def _text(path: str, what: str) -> str:
    try:
        return locate(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file of {what}; name a text file with one sentence a line") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); name a text file with a sentence a line"
        ) from None


def _plain(path: str, text: str) -> Iterator[Line]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield Line(f"{number:04d}", line.strip(), number)  # the ids that `caretta batch` gives the lines


def _json_lines(path: str, text: str) -> Iterator[Line]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError:
            raise ConfigError(f"{path}: line {number} is not JSON; write an object with id and text") from None
        if not isinstance(value, dict) or "id" not in value:
            raise ConfigError(f'{path}: line {number} has no id; write {{"id": "…", "text": "…"}}')
        yield _line(path, number, value["id"], value.get("text"))


def _table(path: str, text: str) -> Iterator[Line]:
    first = text.partition("\n")[0]
    if "|" in first and "," not in first.partition("|")[0]:
        yield from _ljspeech(path, text)
        return
    reader = csv.DictReader(io.StringIO(text), delimiter="\t" if path.lower().endswith(".tsv") else ",")
    missing = {"id", "text"} - set(reader.fieldnames or ())
    if missing:
        raise ConfigError(f"{path}: the header has no column {' and no '.join(sorted(missing))}; name both id and text")
    try:
        for row in reader:
            yield _line(path, reader.line_num, row["id"], row["text"])
    except csv.Error as error:
        raise ConfigError(f"{path}: line {reader.line_num} cannot be read as a table ({error})") from None


def _ljspeech(path: str, text: str) -> Iterator[Line]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            parts = line.split("|")
            if len(parts) < 2:
                raise ConfigError(f"{path}: line {number} has no '|'; write id|text")
            yield _line(path, number, parts[0], parts[1])


def _line(path: str, number: int, name: Any, text: Any) -> Line:
    if not isinstance(name, (str, int)) or not str(name).strip():
        raise ConfigError(f"{path}: line {number} has no id; give it one")
    if text is not None and not isinstance(text, str):
        raise ConfigError(f"{path}: line {number}: text is {text!r}, not a string")
    return Line(str(name).strip(), (text or "").strip(), number)


_READERS = {".txt": _plain, ".csv": _table, ".tsv": _table, ".jsonl": _json_lines}
