"""What is known of a corpus's sound files: digest, length and rate, kept in a journal beside the manifest.

A file is read again only when its size or time of change is another one than in the journal.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

from stages.core.audio import AudioError
from stages.core.files import write_atomic
from stages.core.fingerprint import file_digest

JOURNAL = "sounds.json"


@dataclass(frozen=True)
class Sound:
    """A sound file as it is now."""

    size: int
    """bytes"""
    changed: int
    """nanoseconds since the epoch, the file's own time"""
    digest: str
    """sha256 of its bytes"""
    samples: int
    rate: int
    """samples per second"""


def scan(paths: Sequence[Path], folder: Path, workers: int = 2) -> list[Sound]:
    """The sounds of `paths` in order; `folder` keeps the journal.

    Raises:
        AudioError: a file that is missing or no sound.
        OSError: the journal cannot be written.
    """
    journal = _read_journal(folder / JOURNAL)
    names = [os.path.relpath(path, folder) for path in paths]
    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(_sound, paths, [journal.get(name) for name in names]))
    own = dict(zip(names, found, strict=True))
    if any(journal.get(name) != sound for name, sound in own.items()):
        rows = {name: astuple(sound) for name, sound in sorted((journal | own).items())}
        write_atomic(folder / JOURNAL, json.dumps(rows).encode())
    return found


def _read_journal(path: Path) -> dict[str, Sound]:
    """The journal; empty when it is not there or not whole, for it can be made again."""
    try:
        rows = json.loads(path.read_bytes())
        return {name: Sound(int(s), int(c), str(d), int(n), int(r)) for name, (s, c, d, n, r) in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _sound(path: Path, known: Sound | None) -> Sound:
    import soundfile

    try:
        now = path.stat()
        if known and (known.size, known.changed) == (now.st_size, now.st_mtime_ns):
            return known
        head = soundfile.info(str(path))
        return Sound(now.st_size, now.st_mtime_ns, file_digest(path), head.frames, head.samplerate)
    except FileNotFoundError:
        raise AudioError(f"{path}: is not there; restore it or prepare the corpus again") from None
    except (OSError, soundfile.SoundFileError, RuntimeError) as error:
        raise AudioError(f"{path}: cannot be read as sound ({error}); prepare the corpus again") from None
