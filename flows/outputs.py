"""Sound files, checksums, manifests and reports on disk: each is written whole or not at all.

The same content always gives the same bytes, so that two runs can be compared by their `SHA256SUMS`.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from stages.core.files import remove_abandoned, write_all
from stages.core.pipeline import Result
from stages.core.route import Route, audio_spec
from stages.core.types import Audio

FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
}
NAMES = tuple(suffix[1:] for suffix in FORMATS)
"""the formats as a user names them"""
SUMS = "SHA256SUMS"

_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
_BLOCK = 1 << 16
"""samples written at once: libsndfile's Vorbis encoder overflows its stack on long blocks"""
_OGG_SERIAL = struct.pack("<I", 0xCA7E77A)
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_SUM = re.compile(r"([0-9a-f]{64})  ([^\n\\/]+)\n")


class OutputError(OSError):
    """An output that cannot be written or read; the message names the path and the mend."""


def check_sound_path(path: Path) -> None:
    """Refuses, before any work, an output that could not be written: its ending, its folder. Raises OutputError."""
    if path.suffix.lower() not in FORMATS:
        raise OutputError(f"{path}: the ending says the format; use one of {', '.join(FORMATS)}")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}; make it first")


def check_rate(suffix: str, sample_rate: int) -> None:
    """Refuses a sample rate (per second) that the format does not take. Raises OutputError."""
    if suffix.lower() == ".opus" and sample_rate not in _OPUS_RATES:
        raise OutputError(
            f"opus takes {', '.join(map(str, _OPUS_RATES))} samples per second, not {sample_rate}; use wav, flac or ogg"
        )


def check_route(suffix: str, route: Route) -> None:
    """`check_rate` before any work, where the route's checkpoint says its rate. Raises OutputError."""
    spec = audio_spec(route)
    if spec is not None:
        check_rate(suffix, spec.sample_rate)


def sound_bytes(audio: Audio, suffix: str, tag: str | None = None) -> bytes:
    """A sound file's content; the same arguments always give the same bytes.

    Args:
        suffix: `.wav` and `.flac` hold 16-bit PCM, `.ogg` Vorbis, `.opus` Opus.
        tag: kept in the file's comment field, which players show and `read_tag` reads.

    Raises:
        OutputError: there are no samples, or the format does not take the sample rate.
    """
    check_rate(suffix, audio.sample_rate)
    if not audio.samples.size:
        raise OutputError("the audio has no samples, so there is no sound file to write; give text that can be spoken")
    kind, subtype = FORMATS[suffix.lower()]
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", audio.sample_rate, 1, subtype, format=kind) as file:
        if tag is not None:
            file.comment = tag
        for start in range(0, audio.samples.size, _BLOCK):
            file.write(np.clip(audio.samples[start : start + _BLOCK], -1.0, 1.0))
    return _fixed_serial(buffer.getvalue()) if kind == "OGG" else buffer.getvalue()


def _fixed_serial(ogg: bytes) -> bytes:
    """An Ogg file of one stream with our serial number in place of the encoder's random one (RFC 3533, section 6)."""
    data = bytearray(ogg)
    start = 0
    while start < len(data):
        segments = data[start + 26]
        body = start + 27 + segments
        end = body + sum(data[start + 27 : body])
        data[start + 14 : start + 18] = _OGG_SERIAL
        data[start + 22 : start + 26] = bytes(4)  # the sum is taken with its own field at zero
        data[start + 22 : start + 26] = struct.pack("<I", _ogg_checksum(bytes(data[start:end])))
        start = end
    return bytes(data)


def _ogg_checksum(page: bytes) -> int:
    """CRC-32 as Ogg has it (polynomial 0x04c11db7, highest bit first, neither start nor final value inverted).

    It is zlib's CRC-32 of the bit-reversed bytes, itself bit-reversed, with zlib's two inversions undone.
    """
    mirrored = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def read_tag(path: Path) -> str | None:
    """The tag that `sound_bytes` put into a sound file, or None. Raises OutputError for what is no sound file."""
    try:
        with soundfile.SoundFile(path) as file:
            return file.comment or None
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        reason = "there is no such file" if not path.exists() else f"it is not a sound file that can be read: {error}"
        raise OutputError(f"{path}: {reason}; name a file that caretta wrote") from None


def write_file(path: Path, data: bytes) -> str:
    """`write_files` of one file; returns the sha256 (hex) of the data."""
    return write_files({path: data})[path.name]


def write_files(files: Mapping[Path, bytes]) -> dict[str, str]:
    """Writes each file whole or not at all; one that already holds just that is left alone.

    Returns:
        sha256 (hex) by file name.

    Raises:
        OutputError: there is no room or no right to write; what was there before is still there.
    """
    try:
        write_all({path: data for path, data in files.items() if not _holds(path, data)})
    except OSError as error:
        place = next(iter(files)) if len(files) == 1 else next(iter(files)).parent
        raise OutputError(
            f"{place}: cannot be written ({error.strerror or error}); name a place with room and rights"
        ) from None
    return {path.name: hashlib.sha256(data).hexdigest() for path, data in files.items()}


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data


def write_sound(path: Path, audio: Audio, tag: str | None = None) -> str:
    """Writes audio in the format of the path's ending; returns the sha256 of the file. Raises OutputError."""
    return write_file(path, sound_bytes(audio, path.suffix, tag))


def read_sums(folder: Path) -> dict[str, str]:
    """sha256 (hex) by file name, from a folder's `SHA256SUMS`.

    A missing or damaged list is {}: it only says what need not be written again.
    """
    try:
        text = (folder / SUMS).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    found = _SUM.findall(text)
    if sum(len(hexadecimal) + len(name) + 3 for hexadecimal, name in found) != len(text):
        return {}
    return {name: hexadecimal for hexadecimal, name in found}


def write_sums(folder: Path, sums: dict[str, str]) -> None:
    """Writes `SHA256SUMS`, sorted by name, as `sha256sum -c` reads it. Raises OutputError."""
    text = "".join(f"{hexadecimal}  {name}\n" for name, hexadecimal in sorted(sums.items()))
    write_file(folder / SUMS, text.encode("utf-8"))


def make_folder(path: Path) -> None:
    """Makes an output folder. Raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be made ({error.strerror or error}); name another folder") from None


def clean_folder(path: Path) -> None:
    """Removes what a killed run was writing in an output folder. Raises OutputError."""
    try:
        remove_abandoned(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be cleaned up ({error.strerror or error}); name another folder") from None


def write_lines(path: Path, rows: list[dict[str, Any]]) -> str:
    """One JSON object per line; returns the sha256 of the file. Raises OutputError."""
    return write_file(path, "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows).encode("ascii"))


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
