"""The manifest: a JSON object a line (`id`, `audio`, `text`, `speaker`, `duration` in s, `phones` with end times)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from stages.core.config import ConfigError


@dataclass(frozen=True)
class Utterance:
    """One row. `phones` are (symbol, end in seconds), in order; empty when no timings are known."""

    id: str
    audio: Path
    text: str
    speaker: str
    duration: float
    phones: tuple[tuple[str, float], ...]


def read_manifest(path: str | Path) -> list[Utterance]:
    """Reads a manifest. Raises ConfigError naming the file and line of the first row that cannot be used."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); make it with `caretta prepare`") from None
    out = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            phones = tuple((str(p), float(end)) for p, end in row["phones"])
            out.append(
                Utterance(
                    row["id"], path.parent / row["audio"], row["text"], row["speaker"], float(row["duration"]), phones
                )
            )
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{path}:{number}: not a manifest row ({type(error).__name__}: {error}); prepare the corpus again"
            ) from None
    if not out:
        raise ConfigError(f"{path}: holds no rows; prepare the corpus again")
    return out
