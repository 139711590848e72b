"""Voices: named entries of `artifacts/voices/` and sound files that the user gives."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core.audio import AudioSpec, read_audio
from stages.core.checkpoint import ROOT
from stages.core.config import ConfigError, build, near_miss, read_yaml
from stages.core.types import Audio, Voice

FOLDER = ROOT / "artifacts" / "voices"
DEFAULT = "rms"
SHORTEST, LONGEST = 1.0, 30.0
"""seconds that a reference clip may last"""
_SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".aif", ".aiff")


class VoiceError(ValueError):
    """A voice that cannot be used; the message names it and the mend."""


@dataclass(frozen=True)
class VoiceEntry:
    """`artifacts/voices/<name>/voice.yaml`."""

    name: str
    clip: str
    """file name within the voice's folder"""
    licence: str
    description: str = ""


def list_voices() -> list[VoiceEntry]:
    """The named voices, by name. Raises VoiceError when an entry is not well formed."""
    if not FOLDER.is_dir():
        return []
    return [_entry(folder) for folder in sorted(FOLDER.iterdir()) if (folder / "voice.yaml").is_file()]


def load_voice(name_or_path: str, rate: int = AudioSpec().sample_rate) -> Voice:
    """A named voice, or the sound file at a path as a voice (1 to 30 seconds; several channels are mixed to one).

    Args:
        rate: samples per second of the clip; what a route wants to hear says `route.voice_rate`.

    Raises:
        VoiceError: no such voice or file (the near miss is named), or a clip too short or too long.
        AudioError: a clip that cannot be read.
    """
    folder = FOLDER / name_or_path
    if Path(name_or_path).name == name_or_path and (folder / "voice.yaml").is_file():
        entry = _entry(folder)
        if Path(entry.clip).name != entry.clip:
            raise VoiceError(f"{folder / 'voice.yaml'}: clip must be a file name within the folder, not {entry.clip!r}")
        return _voice(entry.name, folder / entry.clip, entry.licence, rate)
    if Path(name_or_path).is_file():
        return _voice(Path(name_or_path).stem, Path(name_or_path), "given by the user", rate)
    raise VoiceError(_unknown(name_or_path))


def clip_digest(clip: Audio) -> str:
    """sha256 (hex) over a clip's samples and rate: the part of a voice that can change what is heard."""
    samples = np.ascontiguousarray(clip.samples, dtype="<f4")
    return hashlib.sha256(f"{clip.sample_rate}:{samples.size}:".encode() + samples.tobytes()).hexdigest()


def _entry(folder: Path) -> VoiceEntry:
    path = folder / "voice.yaml"
    try:
        entry = build(VoiceEntry, read_yaml(path), str(path))
    except ConfigError as error:
        raise VoiceError(str(error)) from None
    if entry.name != folder.name:
        raise VoiceError(f"{path}: name is {entry.name!r} but its folder is {folder.name!r}; make them the same")
    return entry


def _voice(name: str, path: Path, licence: str, rate: int) -> Voice:
    samples = read_audio(path, rate)
    seconds = samples.size / rate
    if not SHORTEST <= seconds <= LONGEST:
        raise VoiceError(f"{path}: the clip lasts {seconds:.2f} s; give one of {SHORTEST:g} to {LONGEST:g} s")
    clip = Audio(samples, rate)
    return Voice(name, clip, licence, clip_digest(clip))


def _unknown(name: str) -> str:
    known = [entry.name for entry in list_voices()]
    if "/" in name or name.lower().endswith(_SOUNDS):
        return (
            f"{name}: no such sound file; give the path of a clip, or one of the voices {', '.join(known) or '(none)'}"
        )
    hint = near_miss(name, known)
    listed = "" if "known:" in hint else f" (known: {', '.join(known) or 'none'})"
    return f"unknown voice {name!r}{hint}{listed}; or give the path of a sound file"
