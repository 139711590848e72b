"""What corpora of folders share: a text file beside (or apart from) each sound."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from stages.core.config import ConfigError
from stages.data.corpora.rows import SOUNDS, Rows, make_id
from stages.data.corpora.tables import decode
from stages.data.recording import Problem, Recording

K = TypeVar("K", bound=Hashable)


def walk(folder: Path, ending: str | tuple[str, ...] = SOUNDS) -> Iterator[Path]:
    """Files below `folder` with such an ending, in order of their paths; linked folders are followed, hidden left."""
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(ending) and not name.startswith("."):
                yield Path(place, name)


def sounds_by(key: Callable[[Path], K], sounds: Iterable[Path]) -> tuple[dict[K, Path], list[Recording | Problem]]:
    """Sounds by what `key` makes of their paths; a second one of a key (`a.wav` and `a.flac`) is a Problem."""
    found: dict[K, Path] = {}
    problems: list[Recording | Problem] = []
    for path in sounds:
        first = found.setdefault(key(path), path)
        if first is not path:
            detail = f"{path} is the same utterance as {first.name}; keep one of them"
            problems.append(Problem(make_id(path.stem), str(path), "duplicate_id", detail))
    return found, problems


def pair(
    rows: Rows, id: str, speaker: str, sound: Path | None, text: Path | None, expected: Path
) -> Recording | Problem:
    """A sound and its text file; one that lacks the other is a Problem.

    Args:
        expected: where the missing one of the two should be
    """
    where = str(text or sound)
    if text is None:
        detail = f"the sound {sound} has no text; there should be {expected}"
        return Problem(id, where, "missing_text", detail)
    if sound is None:
        return Problem(id, where, "missing_audio", f"the text {text} has no sound; there should be {expected}")
    try:
        spoken = decode(text.read_bytes(), str(text))
    except ConfigError as error:
        return Problem(id, where, "wrong_encoding", str(error))
    except OSError as error:
        return Problem(id, where, "missing_text", f"{text}: cannot be read ({error.strerror}); mend its rights")
    return rows.row(where, str(sound.absolute()), spoken, speaker, id=id)
