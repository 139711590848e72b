"""The manifest: a JSON object a line.

Keys: `id`, `audio` (a path that starts from the manifest's folder), `text`, `speaker`, `duration` in s, and where they
are known `language`, `split` (`train` or `valid`) and `phones` with their ends in s. Further keys are measurements.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.config import ConfigError
from stages.core.files import write_atomic

SPLITS = ("train", "valid")


@dataclass(frozen=True)
class Utterance:
    """One row. `phones` are (symbol, end in seconds), in order; empty when no timings are known."""

    id: str
    audio: Path
    text: str
    speaker: str
    duration: float
    phones: tuple[tuple[str, float], ...]
    language: str = "en"
    split: str | None = None
    """`train` or `valid`; None where the manifest does not say"""


def read_manifest(path: str | Path) -> list[Utterance]:
    """Reads a manifest. Raises ConfigError naming the file and line of the first row that cannot be used."""
    path = Path(path)
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); make it with `caretta prepare`") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 (byte {error.start}); prepare the corpus again") from None
    out = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            out.append(_utterance(json.loads(line), path.parent))
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{path}:{number}: not a manifest row ({type(error).__name__}: {error}); prepare the corpus again"
            ) from None
    if not out:
        raise ConfigError(f"{path}: holds no rows; prepare the corpus again")
    return out


def _utterance(row: dict[str, Any], folder: Path) -> Utterance:
    phones = tuple((str(p), float(end)) for p, end in row["phones"])
    split = row.get("split")
    if split is not None and split not in SPLITS:
        raise ValueError(f"split must be train or valid, not {split!r}")
    duration, language = float(row["duration"]), str(row.get("language", "en"))
    return Utterance(row["id"], folder / row["audio"], row["text"], row["speaker"], duration, phones, language, split)


def row_of(item: Utterance, folder: Path) -> dict[str, Any]:
    """An utterance as a manifest in `folder` has it; a sound outside the folder keeps its absolute path."""
    sound = os.path.relpath(item.audio, folder)
    return {
        "id": item.id,
        "audio": str(item.audio.absolute()) if sound.startswith(os.pardir) else sound,
        "text": item.text,
        "speaker": item.speaker,
        "duration": item.duration,
        "language": item.language,
        **({} if item.split is None else {"split": item.split}),
        "phones": [list(phone) for phone in item.phones],
    }


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes JSON objects, one a line, all or nothing. A file that holds just that already stays as it is.

    Raises:
        ConfigError: there is no room or no right to write.
    """
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    data = text.encode("utf-8", "backslashreplace")  # half a character of a file's name: \udc80, as JSON writes it
    try:
        if not (path.is_file() and path.read_bytes() == data):
            write_atomic(path, data)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); name a place with room and rights") from None
