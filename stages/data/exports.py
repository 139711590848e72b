"""Utterances laid out as other programs take their training data; `stages/data/corpora` reads each layout back.

Every layout is a folder with a list and, linked or copied, the sounds in `wavs`. Nothing is left out silently: what a
layout cannot hold is in `Exported.skipped` with its reason.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stages.core.audio import AudioError
from stages.core.config import ConfigError
from stages.core.files import PARTIAL, partial_path, remove_abandoned, write_atomic
from stages.data.manifest import Utterance

SOUNDS = "wavs"
"""folder of the sounds in an export"""
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Item:
    """An utterance to export."""

    id: str
    audio: Path
    text: str
    speaker: str
    duration: float
    """s"""
    language: str = "en"
    spoken: str | None = None
    """the text as it is spoken, numbers as words; None where nobody knows"""


@dataclass
class Exported:
    """What an export holds, and what it lacks."""

    path: Path
    """the list of what was written"""
    written: int = 0
    """utterances"""
    skipped: dict[str, str] = field(default_factory=dict)
    """id -> reason"""


@dataclass(frozen=True)
class Kind:
    """A layout."""

    list: str
    """name of the list"""
    line: Callable[[Item, str], str]
    """an item and its sound's path from the list's folder, as the list has them"""
    columns: bool = False
    """whether `|` parts the columns, and so can be in none of them"""
    speakers: bool = True
    """whether the list names the speaker"""
    formats: tuple[str, ...] = ("wav", "flac", "ogg", "opus", "mp3")
    """of the sounds that it takes; others become the first of them"""


def export(kind: str, items: Iterable[Item], out: Path, place: Path | None = None) -> Exported:
    """Writes the items into the folder `out`; the same items again change nothing.

    Args:
        place: folder that holds all sounds: the list is written there and names them where they are. None links the
            sounds (or copies them, where links cannot be) to `wavs/<id>` in `out`.

    Raises:
        ConfigError: an unknown kind, several speakers where the layout names none, or no room or right to write.
    """
    layout, items = find(kind), list(items)
    if not layout.speakers:
        one_speaker(kind, {item.speaker for item in items})
    out = place or out
    exported = Exported(out / layout.list)
    lines: list[str] = []
    names: set[str] = set()
    try:
        (out if place else out / SOUNDS).mkdir(parents=True, exist_ok=True)
        for item in items:
            fault = _fault(item, layout, names)
            if fault:
                exported.skipped[item.id] = fault
                continue
            try:
                sound = os.path.relpath(item.audio, place) if place else f"{SOUNDS}/{_put(item, layout, out / SOUNDS)}"
            except AudioError as error:
                exported.skipped[item.id] = str(error)
                continue
            lines.append(layout.line(item, sound) + "\n")
        data = "".join(lines).encode()
        if not (exported.path.is_file() and exported.path.read_bytes() == data):
            write_atomic(exported.path, data)
        remove_abandoned(out)
    except OSError as error:
        name = str(error.filename or "")
        name = str(exported.path) if not name or name.endswith(PARTIAL) else name
        raise ConfigError(
            f"{name}: cannot be read or written ({error.strerror or error}); name a place with room and rights"
        ) from None
    exported.written = len(lines)
    return exported


def from_manifest(rows: Sequence[Utterance]) -> list[Item]:
    """The items of a manifest."""
    return [Item(row.id, row.audio, row.text, row.speaker, row.duration, row.language) for row in rows]


def find(kind: str) -> Kind:
    """A layout by name. Raises ConfigError."""
    if kind not in KINDS:
        raise ConfigError(f"unknown export {kind!r}; use one of {', '.join(KINDS)}")
    return KINDS[kind]


def one_speaker(kind: str, speakers: Collection[str]) -> None:
    """Raises ConfigError when there are several speakers, for a layout that names none."""
    if len(speakers) > 1:
        first = sorted(speakers)
        names = ", ".join(first[:5]) + (f" and {len(first) - 5} more" if len(first) > 5 else "")
        raise ConfigError(
            f"the export {kind!r} names no speaker, and there are {len(first)} ({names}); choose one with --speaker, "
            "or another export"
        )


def _fault(item: Item, layout: Kind, names: set[str]) -> str | None:
    """Why an item cannot be in the layout; remembers the names of those that can."""
    if not _NAME.fullmatch(item.id):
        return "its id cannot name a file (letters, digits, '_', '-' and '.', at most 100)"
    if item.id.lower() in names:
        return "its id differs from another one's in case alone, if at all"
    if layout.columns and any("|" in part for part in (item.text, item.speaker, item.spoken or "")):
        return "its text holds '|', which parts the columns"
    if not item.text.strip():
        return "its text is empty"
    if not item.audio.is_file():
        return f"its sound {item.audio} is not there"
    names.add(item.id.lower())
    return None


def _put(item: Item, layout: Kind, folder: Path) -> str:
    """Puts the sound of an item into the folder; returns its name there."""
    ending = item.audio.suffix.lower().removeprefix(".")
    if ending in layout.formats:
        target = folder / f"{item.id}.{ending}"
        link(item.audio, target)
    else:
        target = folder / f"{item.id}.{layout.formats[0]}"
        _convert(item.audio, target)
    return target.name


def link(sound: Path, target: Path) -> None:
    """Makes `target` the same file as `sound`, or a copy where the file system has no hard links. Raises OSError."""
    if target.exists() and target.samefile(sound):
        return
    partial = partial_path(target)
    try:
        try:
            os.link(sound, partial)
        except OSError:
            shutil.copyfile(sound, partial)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _convert(sound: Path, target: Path) -> None:
    """Writes a sound as 16-bit WAV, unless that is there already and younger. Raises OSError, AudioError."""
    import soundfile

    if target.exists() and target.stat().st_mtime_ns >= sound.stat().st_mtime_ns:
        return
    partial = partial_path(target)
    try:
        samples, rate = soundfile.read(sound, dtype="int16")
        soundfile.write(partial, samples, rate, subtype="PCM_16", format="WAV")
        os.replace(partial, target)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise AudioError(f"{sound}: cannot be read as sound ({error}); prepare the corpus again") from None
    finally:
        partial.unlink(missing_ok=True)


def _plain(text: str) -> str:
    return " ".join(text.split())


def _json(**values: object) -> str:
    return json.dumps(values, ensure_ascii=False)


def _ljspeech(item: Item, sound: str) -> str:
    text = _plain(item.text)
    return f"{item.id}|{text}|{text if item.spoken is None else _plain(item.spoken)}"


def _melotts(item: Item, sound: str) -> str:
    return f"{sound}|{_plain(item.speaker)}|{item.language.upper()}|{_plain(item.text)}"


def _nemo(item: Item, sound: str) -> str:
    text, speaker = _plain(item.text), item.speaker
    return _json(audio_filepath=sound, text=text, duration=item.duration, speaker=speaker, lang=item.language)


def _melle(item: Item, sound: str) -> str:
    return _json(transcription=_plain(item.text), audio_path=sound, speaker=item.speaker, language=item.language)


def _audiofolder(item: Item, sound: str) -> str:
    return _json(
        file_name=sound, text=_plain(item.text), speaker=item.speaker, language=item.language, duration=item.duration
    )


KINDS = {
    "ljspeech": Kind("metadata.csv", _ljspeech, columns=True, speakers=False, formats=("wav",)),
    "melotts": Kind("metadata.list", _melotts, columns=True),
    "nemo": Kind("train.jsonl", _nemo),
    "melle": Kind("train.jsonl", _melle),
    "audiofolder": Kind("metadata.jsonl", _audiofolder),
}
