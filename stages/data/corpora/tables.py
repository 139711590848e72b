"""Lists as corpora have them: lines of UTF-8, columns parted by `|`, a JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from stages.core.config import ConfigError, near_miss
from stages.data.recording import Problem


def decode(data: bytes, where: str) -> str:
    """UTF-8 text, with or without a byte order mark. Raises ConfigError naming the line that is not UTF-8."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"{where}: is UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{where}: line {line}: is not UTF-8 (byte {data[error.start]:#04x}); save it as UTF-8, "
            "e.g. with iconv -f latin1 -t utf-8"
        ) from None


def read_text(path: Path, mend: str) -> str:
    """A whole text file. Raises ConfigError when it is not there or not UTF-8; `mend` says what to do then."""
    try:
        return decode(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; {mend}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); {mend}") from None


def read_lines(path: Path, mend: str) -> Iterator[tuple[str, str]]:
    """(`file:line`, line) of every line that is not empty. Raises ConfigError as `read_text`."""
    for number, line in enumerate(read_text(path, mend).split("\n"), 1):  # splitlines() parts texts at U+2028 too
        if line.strip():
            yield f"{path}:{number}", line.rstrip("\r")


def columns(path: Path, counts: Collection[int], layout: str) -> Iterator[tuple[str, list[str] | Problem]]:
    """Rows parted by `|`; quotes mean nothing, as in LJSpeech. A row of another number of columns is a Problem.

    Args:
        counts: numbers of columns that a row may have
        layout: names of the columns, for messages
    """
    for where, line in read_lines(path, f"a row is {layout}"):
        parts = [part.strip() for part in line.split("|")]
        if len(parts) in counts:
            yield where, parts
        else:
            yield (
                where,
                Problem(
                    where, where, "wrong_columns", f"has {len(parts)} columns where a row is {layout}; correct the row"
                ),
            )


def objects(path: Path, needed: Collection[str]) -> Iterator[tuple[str, dict[str, Any] | Problem]]:
    """JSON objects, one a line; one that is none, or lacks a key, is a Problem."""
    for where, line in read_lines(path, f"it holds a JSON object a line with {', '.join(needed)}"):
        yield where, _object(where, line, needed)


def _object(where: str, line: str, needed: Collection[str]) -> dict[str, Any] | Problem:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "nested too deeply")
        return Problem(where, where, "not_json", f"is not JSON ({reason}); write one object a line")
    if not isinstance(value, dict):
        return Problem(where, where, "not_json", f"is a {type(value).__name__}, not a JSON object; write one a line")
    for key in needed:
        if key not in value:
            detail = f"has no {key!r}{near_miss(key, map(str, value))}; every object needs {', '.join(needed)}"
            return Problem(where, where, "missing_key", detail)
    return value


def string(value: dict[str, Any], *keys: str) -> str | None:
    """The first of these keys that holds something, as text; None when none does."""
    for key in keys:
        if value.get(key) not in (None, ""):
            return str(value[key])
    return None
