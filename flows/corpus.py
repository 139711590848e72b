"""Reads a text corpus (txt, jsonl, csv) or a book and refuses a bad one before any work, with file, line and mend.

A corpus is read row by row and no row is read further than a text may be long, so that a hostile file costs neither
memory nor time.
"""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from stages.text.chapters import split_chapters

COLUMNS = ("id", "text", "voice")
LONGEST_LINE = 1_000_000
"""characters of one text"""
_LONGEST_ROW = 12 * LONGEST_LINE + 10_000
"""bytes: the longest text, every character written as two JSON escapes, and room for the id"""
_LONGEST_BOOK = 30_000_000
"""bytes"""
_LONGEST_SLUG = 40
"""characters"""

_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_OUR_FILES = {"manifest.jsonl", "config.yaml", "choices.yaml", "sha256sums", "train.jsonl", "ljspeech"}
"""what else is in an output folder, in lower case"""
_WINDOWS_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}

Rows = Iterator[tuple[int, Any]]
"""the number of a row's first line, and the row"""


class CorpusError(ValueError):
    """A corpus that cannot be used; the message names the file, the line and the mend."""


@dataclass(frozen=True, slots=True)
class Line:
    """One utterance asked for."""

    id: str
    """also the name of its sound file, without the ending"""
    text: str
    voice: str | None = None
    """None: the voice of the run"""
    title: str | None = None
    """spoken first, with a longer pause after it: the heading of a chapter"""


def read_corpus(path: str | Path) -> list[Line]:
    """The lines of a corpus, in order.

    Raises:
        CorpusError: the first thing that cannot be used as it stands, and how many more rows have something.
    """
    path = Path(path)
    if path.suffix.lower() not in _KINDS:
        raise CorpusError(f"{path}: a corpus is a .txt, .jsonl or .csv file; rename or convert it")
    rows, parse = _KINDS[path.suffix.lower()]
    lines: list[Line] = []
    seen: dict[str, int] = {}
    problem, problems = "", 0
    with _opened(path, "name a .txt, .jsonl or .csv file") as file:
        stream = rows(file, path)
        while True:
            try:
                number, row = next(stream, (0, None))  # after an error of its own, too, the stream is at its end
                if not number:
                    break
                where = f"{path}: line {number}"
                line = parse(number, row, where)
                _check(line, where)
                _check_new(line, number, seen, where)
                lines.append(line)
            except CorpusError as error:
                problem, problems = problem or str(error), problems + 1
    if problems:
        raise CorpusError(problem + (f" (further lines that cannot be used: {problems - 1})" if problems > 1 else ""))
    if not lines:
        raise CorpusError(f"{path}: holds no text; put one utterance on each line")
    return lines


def read_book(path: str | Path) -> list[Line]:
    """One line per chapter of a long text (.txt, .md); ids are like `01-the-fog`. Raises CorpusError."""
    path = Path(path)
    if path.suffix.lower() not in (".txt", ".md"):
        raise CorpusError(f"{path}: a book is a .txt or .md file; rename or convert it")
    with _opened(path, "name a .txt or .md file") as file:
        data = file.read(_LONGEST_BOOK + 1)
    if len(data) > _LONGEST_BOOK:
        raise CorpusError(f"{path}: is longer than {_LONGEST_BOOK} bytes; split it into several books")
    chapters = split_chapters(decode(data, str(path)))
    if not chapters:
        raise CorpusError(f"{path}: holds no text; write some")
    width = max(2, len(str(len(chapters))))
    lines = []
    for number, chapter in enumerate(chapters, 1):
        slug = _slug(chapter.title or "")
        line = Line(f"{number:0{width}d}{'-' if slug else ''}{slug}", chapter.text, title=chapter.title)
        _check(line, f"{path}: chapter {number} ({_shown(chapter.title)})")
        lines.append(line)
    return lines


def decode(data: bytes, where: str) -> str:
    """UTF-8 text, with or without a byte order mark. Raises CorpusError naming the line that is not UTF-8."""
    _refuse_utf16(data, where)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _not_utf8(f"{where}: line {line}", data[error.start]) from None


def _refuse_utf16(start: bytes, where: str) -> None:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CorpusError(f"{where}: is UTF-16; save it as UTF-8")


def _not_utf8(where: str, byte: int) -> CorpusError:
    return CorpusError(f"{where}: is not UTF-8 (byte {byte:#04x}); save it as UTF-8")


def _opened(path: Path, mend: str) -> BinaryIO:
    """An ordinary file, open for reading: a folder, a device or a pipe is refused, not waited for."""
    try:
        if not path.exists():
            raise CorpusError(f"{path}: no such file; {mend}")
        if not path.is_file():
            raise CorpusError(f"{path}: cannot be read (it is a {'folder' if path.is_dir() else 'device'}); {mend}")
        return open(path, "rb")
    except CorpusError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise CorpusError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); {mend}") from None


def _check(line: Line, where: str) -> None:
    device = line.id.split(".")[0].lower() in _WINDOWS_DEVICES
    if not _ID.fullmatch(line.id) or line.id.lower() in _OUR_FILES or device:
        raise CorpusError(
            f"{where}: id {_shown(line.id)} cannot name a file; use 1 to 100 letters, digits, '_', '-' and '.', "
            "without a '.' in front, and no name that is taken, such as config.yaml or con"
        )
    if not line.text.strip():
        raise CorpusError(f"{where}: its text is empty; give text or remove the line")
    if len(line.text) > LONGEST_LINE:
        raise CorpusError(
            f"{where}: its text has {len(line.text)} characters; split it into texts of at most {LONGEST_LINE}"
        )
    for name, content in (("text", line.text), ("voice", line.voice or "")):
        if "\0" in content:
            raise CorpusError(f"{where}: its {name} holds a NUL character; remove it (or save the file as UTF-8)")
        if not content.isascii() and any("\ud800" <= character <= "\udfff" for character in content):
            raise CorpusError(f"{where}: its {name} holds half a character (\\ud800 to \\udfff); write the whole one")


def _check_new(line: Line, number: int, seen: dict[str, int], where: str) -> None:
    folded = line.id.lower()  # two ids that differ in case alone are one file on some systems
    first = seen.setdefault(folded, number)
    if first != number:
        raise CorpusError(f"{where}: id {line.id!r} is already that of line {first}; give every line its own")


def _shown(value: object) -> str:
    """A value as a message shows it: one short line."""
    text = repr(value)
    return text if len(text) <= 42 else text[:40] + "…"


def _slug(title: str) -> str:
    """Lower-case ASCII words of a title joined by '-'; may be empty."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode("ascii").lower()
    words = re.findall(r"[a-z0-9]+", plain.replace("'", ""))
    return "-".join(words)[:_LONGEST_SLUG].rstrip("-")


def _text_rows(file: BinaryIO, path: Path) -> Iterator[tuple[int, str]]:
    """Every line of the file with its end, if it is UTF-8 and not beyond all measure."""
    number = 0
    while data := file.readline(_LONGEST_ROW):
        number += 1
        where = f"{path}: line {number}"
        if number == 1:
            _refuse_utf16(data, str(path))
        if len(data) == _LONGEST_ROW and not data.endswith(b"\n"):
            raise CorpusError(
                f"{where}: is longer than {_LONGEST_ROW} bytes; "
                f"split it into lines of at most {LONGEST_LINE} characters"
            )
        try:
            row = data.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise _not_utf8(where, data[error.start]) from None
        if "\r" in row.removesuffix("\n").removesuffix("\r"):
            raise CorpusError(f"{where}: holds a carriage return that ends no line; save the file with ends of \\n")
        yield number, row


def _filled_rows(file: BinaryIO, path: Path) -> Iterator[tuple[int, str]]:
    """`_text_rows` but empty ones, which part the text and say nothing."""
    return ((number, row) for number, row in _text_rows(file, path) if not row.isspace())


def _txt(number: int, row: str, where: str) -> Line:
    return Line(f"{number:04d}", row.strip())  # not padded to the number of lines: appending some renames none


def _jsonl(number: int, row: str, where: str) -> Line:
    try:
        value = json.loads(row, object_pairs_hook=_without_twins)
    except CorpusError as error:
        raise CorpusError(f"{where}: {error}") from None
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "nested too deeply, or a number too long")
        raise CorpusError(f'{where}: is not JSON ({reason}); write {{"id": "…", "text": "…"}}') from None
    if not isinstance(value, dict):
        raise CorpusError(f'{where}: must be an object, {{"id": "…", "text": "…"}}, not a {type(value).__name__}')
    return _line(value, where)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        [(twin, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise CorpusError(f"has {_shown(twin)} twice; keep one")
    return value


def _csv_rows(file: BinaryIO, path: Path) -> Iterator[tuple[int, tuple[list[str], list[str]]]]:
    """The header with every row below it."""
    rows = csv.reader((row for _, row in _text_rows(file, path)), strict=True)
    header: list[str] | None = None
    usual = csv.field_size_limit(LONGEST_LINE)
    try:
        while True:
            start = rows.line_num + 1
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                raise CorpusError(
                    f"{path}: line {start}: is not CSV ({error}); quote fields that hold commas or quotes, "
                    "and close every quote"
                ) from None
            if row and header is None:
                header = [name.strip() for name in row]
                _check_header(header, f"{path}: line {start}")
            elif row and header is not None:
                yield start, (header, row)
    finally:
        csv.field_size_limit(usual)


def _csv(number: int, row: tuple[list[str], list[str]], where: str) -> Line:
    names, fields = row
    if len(fields) != len(names):
        raise CorpusError(f"{where}: has {len(fields)} fields, the header {len(names)}; quote text that holds commas")
    return _line({k: v for k, v in zip(names, fields, strict=True) if k != "voice" or v}, where)


def _check_header(header: list[str], where: str) -> None:
    unknown = [name for name in header if name not in COLUMNS]
    if unknown:
        raise CorpusError(
            f"{where}: unknown column {_shown(unknown[0])}; the header is id,text (and voice, if you like)"
        )
    if "id" not in header or "text" not in header or len(set(header)) != len(header):
        raise CorpusError(f"{where}: the header must name id and text once each, as in id,text")


def _line(value: dict[str, Any], where: str) -> Line:
    for name, content in value.items():
        if name not in COLUMNS:
            raise CorpusError(f"{where}: unknown column {_shown(name)}; use id, text and voice")
        if not isinstance(content, str):
            raise CorpusError(f"{where}: {name} must be a string, not {_shown(content)}")
    for name in ("id", "text"):
        if name not in value:
            raise CorpusError(f"{where}: has no {name}; give id and text")
    return Line(value["id"], value["text"], value.get("voice"))


_KINDS: dict[str, tuple[Callable[[BinaryIO, Path], Rows], Callable[[int, Any, str], Line]]] = {
    ".txt": (_filled_rows, _txt),
    ".jsonl": (_filled_rows, _jsonl),
    ".csv": (_csv_rows, _csv),
}
"""how a kind of file is cut into rows, and how a row becomes a line; the second may fail row by row"""
