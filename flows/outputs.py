"""Sound files, manifests and reports on disk: each is written whole or not at all."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from stages.core.files import write_atomic
from stages.core.pipeline import Result
from stages.core.types import Audio

FORMATS = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}


class OutputError(OSError):
    """An output that cannot be written; the message names the path and the mend."""


def check_sound_path(path: Path) -> None:
    """Refuses, before any work, an output that could not be written: its ending, its folder."""
    if path.suffix.lower() not in FORMATS:
        raise OutputError(f"{path}: the ending says the format; use one of {', '.join(FORMATS)}")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}; make it first")


def sound_bytes(audio: Audio, suffix: str) -> bytes:
    """The file's content: 16-bit PCM in wav and flac, Vorbis in ogg."""
    kind, subtype = FORMATS[suffix.lower()]
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", audio.sample_rate, 1, subtype, format=kind) as file:
        for start in range(
            0, audio.samples.size, 1 << 16
        ):  # libsndfile's Vorbis encoder overflows its stack on long blocks
            file.write(np.clip(audio.samples[start : start + (1 << 16)], -1.0, 1.0))
    return buffer.getvalue()


def write_file(path: Path, data: bytes) -> None:
    """Writes `data` whole or not at all; a file that already holds just that is left alone. Raises OutputError."""
    try:
        if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
            return
        write_atomic(path, data)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); name a place with room and rights"
        ) from None


def write_sound(path: Path, audio: Audio) -> None:
    """Writes audio in the format of the path's ending. Raises OutputError."""
    write_file(path, sound_bytes(audio, path.suffix))


def make_folder(path: Path) -> None:
    """Makes an output folder. Raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be made ({error.strerror or error}); name another folder") from None


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """One JSON object per line."""
    write_file(path, "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows).encode("ascii"))


def write_yaml(path: Path, value: dict[str, Any]) -> None:
    """A resolved configuration."""
    write_file(path, yaml.safe_dump(value, sort_keys=False).encode("utf-8"))


def duration(audio: Audio) -> float:
    """seconds"""
    return audio.samples.size / audio.sample_rate


def scores(result: Result) -> list[dict[str, Any]]:
    """Per sentence: the candidate that was chosen and every judge's score of every candidate."""
    return [
        {"text": s["text"], "chosen": s["chosen"], "scores": s["scores"], "faults": s["faults"]}
        for s in result.sentences
    ]
