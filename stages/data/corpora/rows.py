"""What every reader shares: the checks that make a row of a corpus a Recording, or a Problem in its place.

Readers never open a sound: they see that the row is whole and that its file is there.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.core.config import ConfigError
from stages.data.languages import language_code
from stages.data.recording import Problem, Recording

SOUNDS = (".wav", ".flac", ".ogg", ".opus", ".mp3")
"""endings of sound files that libsndfile reads"""
STRUCTURAL = {"wrong_columns", "missing_key", "not_json", "text_is_path", "text_is_number", "missing_audio",
              "missing_text", "path_escapes", "unknown_language"}  # fmt: skip
"""what is a fault of the list or of its config, not of a row, when most rows have it"""
_SOUND_FOLDERS = {"wavs", "wav", "audio", "audios", "clips", "data"}
"""a first folder that says nothing about an utterance"""
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_PATH = re.compile(r"\S+\.(wav|flac|ogg|opus|mp3|m4a|aac)|[^\s/]*(/[^\s/]+){2,}", re.IGNORECASE)
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffd\ud800-\udfff]")
_NUMBER = re.compile(r"[-+]?[0-9]+([.,:][0-9]+)*")


@dataclass(frozen=True)
class SourceConfig:
    """Where a corpus lies and what it speaks."""

    path: str = ""
    """the corpus's folder, or its list"""
    language: str = "en"
    """of rows that name none"""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("give path: where the corpus lies (its folder, or its list)")
        language_code(self.language)


@dataclass(frozen=True)
class ListConfig(SourceConfig):
    """A corpus with a list whose rows need not name a speaker."""

    speaker: str = "speaker"
    """of rows that name none"""


def make_id(name: str) -> str:
    """An id as it is when it may be one (letters, digits, `-`, `_`), else made into one that no other name has."""
    if _ID.fullmatch(name):
        return name
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '_', name)[:60]}-{_short(name)}"


def _short(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def id_of_path(name: str, folder: Path) -> str:
    """The id of a sound that has none of its own: its path in `folder` without the ending, `/` as `-`.

    A path outside the folder gives its file's name and 8 hex digits of the sha256 of the whole path.
    """
    path = Path(os.path.normpath(name))
    if path.is_absolute():
        if not path.is_relative_to(folder.absolute()):
            return make_id(f"{path.stem}-{_short(str(path))}")
        path = path.relative_to(folder.absolute())
    parts = path.with_suffix("").parts if path.name else path.parts
    if len(parts) > 1 and parts[0].lower() in _SOUND_FOLDERS:
        parts = parts[1:]
    return make_id("-".join(parts))


def text_fault(text: str) -> tuple[str, str] | None:
    """(reason, sentence) when `text` cannot be what was spoken."""
    if not text.strip():
        return "empty_text", "its text is empty; write what is spoken or remove the row"
    if _PATH.fullmatch(text.strip()):
        return "text_is_path", f"its text {text.strip()[:60]!r} is a path; are the columns in order?"
    if _NUMBER.fullmatch(text.strip()):
        return (
            "text_is_number",
            f"its text {text.strip()[:60]!r} is a number; spell it out, or put the columns in order",
        )
    if _NO_TEXT.search(text):
        return "wrong_encoding", "its text holds what no text does (U+FFFD or control codes); save it as UTF-8"
    if not text.isascii() and _twice_encoded(text):
        return "wrong_encoding", f"its text {text[:60]!r} was encoded twice; save the list as UTF-8 from its source"
    return None


def _twice_encoded(text: str) -> bool:
    """Whether the text is UTF-8 that somebody read as Windows-1252: `cafÃ©`."""
    for codec in ("cp1252", "latin-1"):
        try:
            return len(text.encode(codec).decode("utf-8")) < len(text)
        except (UnicodeEncodeError, UnicodeDecodeError):
            continue
    return False


class Rows:
    """Checks the rows of one corpus, in order; it remembers the ids that it has seen.

    Args:
        folder: that relative sound files start from; they may not leave it
        config: what a row does not say
    """

    def __init__(self, folder: Path, config: SourceConfig):
        self.folder = folder
        self.language = config.language
        self.speaker = getattr(config, "speaker", "speaker")
        self._seen: dict[str, str] = {}
        self._names: dict[Path, dict[str, str]] = {}

    def row(
        self,
        where: str,
        sound: str,
        text: str,
        speaker: str | None = None,
        language: str | None = None,
        id: str | None = None,
        phones: tuple[tuple[str, float], ...] = (),
    ) -> Recording | Problem:
        """A Recording, or the first Problem of the row.

        Args:
            sound: the file's name as the corpus gives it: relative to the folder, or absolute
            id: None takes it from `sound`
        """
        name = make_id(id) if id else id_of_path(sound, self.folder)
        fault = text_fault(text)
        if fault:
            return Problem(name, where, *fault)
        first = self._seen.setdefault(name, where)
        if first != where:
            return Problem(name, where, "duplicate_id", f"its id is already that of {first}; give every row its own")
        who = " ".join((speaker or "").split()) or self.speaker
        if _NO_TEXT.search(who):
            return Problem(name, where, "wrong_encoding", f"its speaker {ascii(who)} is no name; save it as UTF-8")
        try:
            code = language_code(language or self.language)
        except ValueError as error:
            return Problem(name, where, "unknown_language", f"{error}; leave the row out or write its G2P")
        path = self.sound(sound)
        if isinstance(path, tuple):
            return Problem(name, where, *path)
        return Recording(name, path, " ".join(text.split()), who, where, code, phones)

    def sound(self, name: str) -> Path | tuple[str, str]:
        """The sound file that a row names, or (reason, sentence)."""
        if not name.strip() or "\0" in name:
            return "missing_audio", "it names no sound file; write its path"
        inside = os.path.normpath(name)
        if not os.path.isabs(name) and inside.split(os.sep)[0] == os.pardir:
            return "path_escapes", f"{name[:80]!r} leads out of {self.folder}; write an absolute path or move the file"
        path = Path(name) if os.path.isabs(name) else self.folder / inside
        if not os.path.isfile(path):
            what = "is a folder, no sound" if os.path.isdir(path) else "is not there"
            return "missing_audio", f"{path} {what}{self._near(path)}"
        if os.path.getsize(path) == 0:
            return "empty_audio", f"{path} has no bytes; copy it again"
        return path

    def _near(self, path: Path) -> str:
        """Names the file that was meant, when one differs in its ending or in case alone."""
        if path.parent not in self._names:
            try:
                listed = sorted(os.listdir(path.parent))
            except OSError:
                listed = []
            self._names[path.parent] = {Path(n).stem.lower(): n for n in listed if n.lower().endswith(SOUNDS)}
        close = self._names[path.parent].get(path.stem.lower())
        if close:
            return f", but {close!r} is; correct the row or rename the file"
        return "; write / for \\" if "\\" in path.name else "; add it or remove the row"


def settled(found: list[Recording | Problem], where: Path) -> Iterator[Recording | Problem]:
    """What was found, when it is a corpus.

    Raises:
        ConfigError: there is nothing, or nothing that can be used and most rows have the same fault of structure.
    """
    if not found:
        raise ConfigError(f"{where}: holds no utterances; is it the right path, and the right corpus?")
    problems = [f for f in found if isinstance(f, Problem)]
    if len(problems) == len(found):
        [(reason, count)] = Counter(p.reason for p in problems).most_common(1)
        if reason in STRUCTURAL and 2 * count > len(found):
            first = next(p for p in problems if p.reason == reason)
            share = f" (so in {count} of {len(found)} rows, and no row can be used)" if len(found) > 1 else ""
            raise ConfigError(f"{first.where}: {first.detail}{share}")
    return iter(found)


def existing_folder(path: str, mend: str) -> Path:
    """A folder that is there. Raises ConfigError."""
    folder = Path(path)
    if not folder.is_dir():
        raise ConfigError(f"{folder}: {'is no folder' if folder.exists() else 'is not there'}; {mend}")
    return folder
