"""Whom a checkpoint can speak as: its speakers, accents and languages, read from config.yaml alone, without torch.

A voice is a clip, a speaker a row of an embedding table. They meet where a named voice of `artifacts/voices/` has the
name of a speaker: its clip's digest, all that a key knows of a voice, then says which row is meant.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core import checkpoint, voices
from stages.core.config import ConfigError, read_yaml
from stages.core.fingerprint import digest
from stages.core.types import Tones, Voice, WordVectors

if TYPE_CHECKING:
    from stages.vits.config import VitsConfig

STAGE = "vits"
LISTED = 200
"""names that an error lists at most"""


@dataclass(frozen=True)
class Cast:
    """What a checkpoint's tables hold, in the order of their rows."""

    folder: Path
    speakers: tuple[str, ...]
    """empty: one speaker without a name"""
    accents: tuple[str, ...]
    languages: tuple[str, ...]
    accent_of: dict[str, str]
    """speaker -> the accent that it was recorded in"""
    tones: int
    """how many it hears; 0 = none"""
    bert: int
    """width of the word vectors that it hears; 0 = none"""


@dataclass(frozen=True)
class Part:
    """Who speaks one item: rows of the tables, None where the checkpoint names nobody."""

    speaker: int | None
    accent: int | None
    language: int | None


def read_cast(folder: str) -> Cast:
    """The cast of a checkpoint.

    Raises:
        CheckpointError: no checkpoint there, or one of another stage.
        ConfigError: a config.yaml that cannot be read.
    """
    where = checkpoint.locate(folder)
    stage = checkpoint.read_meta(folder).get("stage")
    if stage != STAGE:
        raise checkpoint.CheckpointError(
            f"{where}: is a checkpoint of {stage!r}, not of {STAGE!r}; name one of {STAGE!r}"
        )
    path = where / checkpoint.CONFIG
    return _read(where, path.stat().st_mtime_ns if path.is_file() else 0)


@functools.lru_cache(maxsize=16)
def _read(where: Path, stamp: int) -> Cast:
    path = where / checkpoint.CONFIG
    values = read_yaml(path)
    try:
        tables = {kind: tuple(map(str, values.get(kind) or ())) for kind in ("speakers", "accents", "languages")}
        accent_of = {str(k): str(v) for k, v in dict(values.get("accent_of") or {}).items()}
        tones, bert = int(values.get("tones") or 0), int(values.get("bert") or 0)
    except (TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(f"{path}: does not say who speaks ({error}); restore the checkpoint") from None
    return Cast(where, tables["speakers"], tables["accents"], tables["languages"], accent_of, tones, bert)


def check(config: VitsConfig, before: Sequence[type]) -> None:
    """Refuses what the checkpoint has not: a speaker, an accent, a language, a reader of word vectors.

    Args:
        before: what earlier stages of the route give.

    Raises:
        ConfigError, CheckpointError
    """
    found = read_cast(config.checkpoint)
    part_of(found, config, _row(found, "speaker", config.speaker) if config.speaker else None)
    if found.bert and WordVectors not in before:
        raise ConfigError(f"{found.folder} reads word vectors (BERT); put stage bert before vits, or name a checkpoint "
                          "without")  # fmt: skip
    if WordVectors in before and not found.bert:
        raise ConfigError(
            f"{found.folder} reads no word vectors (BERT); leave stage bert out, or name a checkpoint that does"
        )
    if found.tones and Tones not in before:
        raise ConfigError(f"{found.folder} reads tones; put stage stress before vits, or name a checkpoint without")


def content(config: VitsConfig) -> dict[str, Any]:
    """How a converted checkpoint reads text, for the key: meta.json says it, which is no part of the weights' digest.

    Raises:
        CheckpointError: no checkpoint there.
    """
    meta = checkpoint.read_meta(config.checkpoint)
    return {"reads": digest([meta["reads"], meta.get("names")])} if "reads" in meta else {}


def check_voice(config: VitsConfig, voice: Voice) -> None:
    """Refuses a voice that is none of the checkpoint's speakers. Raises ConfigError, CheckpointError."""
    speaker_of(read_cast(config.checkpoint), config.speaker, voice)


def speaker_of(found: Cast, name: str, voice: Voice) -> int | None:
    """The row of the speaker with this name, or else of the one whose named voice is `voice`; None where none is named.

    Raises:
        ConfigError: no such speaker, or a voice that is none of them.
    """
    if name:
        return _row(found, "speaker", name)
    if not found.speakers:
        return None
    row = row_of(found, voice)
    if row is None:
        named = named_voices(found)
        whole = len(named) == len(found.speakers)
        as_voice = "one of them as --voice or" if whole else f"{_listed(named)} as --voice, or any"
        raise stranger(found, voice, f"give {as_voice if named else 'one'} with --set vits.speaker=NAME")
    return row


def row_of(found: Cast, voice: Voice) -> int | None:
    """The row of the speaker whose named voice is `voice`; None when it is nobody's."""
    for each in sorted(named_voices(found), key=lambda other: other != voice.name):  # the likely one first
        if voices.load_voice(each).digest == voice.digest:
            return found.speakers.index(each)
    return None


def stranger(found: Cast, voice: Voice, mend: str) -> ConfigError:
    """What to say of a voice that is none of the speakers."""
    return ConfigError(
        f"voice {voice.name!r} is no speaker of {found.folder}: this model speaks only as {_listed(found.speakers)}; "
        f"{mend}"
    )


def named_voices(found: Cast) -> list[str]:
    """The speakers that are named voices, too."""
    return [entry.name for entry in voices.list_voices() if entry.name in found.speakers]


def speaker_row(found: Cast, name: str) -> int:
    """The row of a speaker. Raises ConfigError, naming the near miss and all that there are."""
    return _row(found, "speaker", name)


def part_of(found: Cast, config: VitsConfig, speaker: int | None) -> Part:
    """Who speaks, with the accent (the speaker's own) and the language (the first) unless others are asked for.

    Raises:
        ConfigError: one that there is not.
    """
    accent = language = None
    if config.accent:
        accent = _row(found, "accent", config.accent)
    elif found.accents:
        own = found.accent_of.get(found.speakers[speaker]) if speaker is not None else None
        accent = found.accents.index(own) if own else 0
    if config.language:
        language = _row(found, "language", config.language)
    return Part(speaker, accent, language)


def _row(found: Cast, kind: str, name: str) -> int:
    known: tuple[str, ...] = getattr(found, f"{kind}s")
    if name in known:
        return known.index(name)
    if not known:
        raise ConfigError(f"vits.{kind} is {name!r}, but {found.folder} has no {kind}s to choose from; leave it out")
    close = get_close_matches(name, known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise ConfigError(f"unknown {kind} {name!r}{hint}; the {kind}s of {found.folder} are: {_listed(known)}")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
