"""What a listener decided about lines of a corpus: another reading, another candidate. Kept beside the output.

`choices.yaml` in the output folder: id -> {text: digest, reading: n, picks: {sentence: candidate}, check: digest}. A
later run of the same corpus honours it; a line whose text has changed loses its choice, and is told so. A damaged one
must not change a reading in silence, so each has a checksum: whoever wants to undo one deletes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flows.corpus import Line
from stages.core.config import ConfigError, build, near_miss, read_yaml
from stages.core.fingerprint import digest

NAME = "choices.yaml"
_PICK = re.compile(r"(?P<id>.+?)(?::(?P<sentence>[0-9]{1,6}))?=(?P<candidate>[0-9]{1,6})")


@dataclass(frozen=True)
class Choice:
    """For one line."""

    text: str
    """digest of the text for which it was made"""
    reading: int = 0
    """added to the seed of the run"""
    picks: dict[str, int] = field(default_factory=dict)
    """sentence (from 1) -> candidate (from 0)"""
    check: str = ""
    """checksum over the id and the rest"""

    def checked(self, name: str) -> Choice:
        """The same with the right checksum for the line with this id."""
        return replace(self, check=digest([name, self.text, self.reading, self.picks])[:16])

    @property
    def by_sentence(self) -> dict[int, int]:
        """Sentence (from 0) -> candidate."""
        return {int(sentence) - 1: candidate for sentence, candidate in self.picks.items()}


@dataclass(frozen=True)
class Choices:
    """Every choice of an output folder, by id."""

    by_id: dict[str, Choice]
    outdated: tuple[str, ...] = ()
    """ids whose text has changed since: their choice does not hold any more"""

    def plain(self) -> dict[str, Any]:
        """What is written to `choices.yaml`."""
        return {
            name: {"text": c.text, "reading": c.reading, "picks": dict(sorted(c.picks.items())), "check": c.check}
            for name, c in ((name, self.by_id[name].checked(name)) for name in sorted(self.by_id))
        }


def read_choices(out: Path, lines: Iterable[Line]) -> Choices:
    """The choices that hold for these lines; those of lines that are not in this corpus are kept.

    Raises:
        ConfigError: the file cannot be read as choices.
    """
    path = out / NAME
    raw: Mapping[str, Any] = read_yaml(path) if path.is_file() else {}
    found: dict[str, Choice] = {}
    for name, value in raw.items():
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: {name}: must be a mapping of text, reading and picks; mend or delete the line")
        found[str(name)] = choice = build(Choice, value, f"{path}: {name}")
        if choice != choice.checked(str(name)):
            raise ConfigError(
                f"{path}: {name}: was changed by hand or is damaged; delete it and say --redo or --pick again"
            )
    texts = {line.id: _digest(line) for line in lines}
    outdated = tuple(name for name, choice in found.items() if texts.get(name, choice.text) != choice.text)
    return Choices({name: c for name, c in found.items() if name not in outdated}, outdated)


def with_redo(choices: Choices, ids: Iterable[str], lines: Iterable[Line], spoken: Mapping[str, int]) -> Choices:
    """Another reading for each of these lines; a pick made for the reading before is dropped.

    Args:
        spoken: id -> the reading that the output folder has. One that was asked for before and is not there yet (the
            run was killed) is not counted on.

    Raises:
        ConfigError: an id that is not in the corpus.
    """
    texts = {line.id: _digest(line) for line in lines}
    changed = dict(choices.by_id)
    for name in dict.fromkeys(ids):
        _check_id("--redo", name, texts)
        reading = _of(changed, name, texts).reading
        if not reading or spoken.get(name) == reading:
            changed[name] = Choice(texts[name], reading + 1)
    return replace(choices, by_id=changed)


def with_picks(choices: Choices, picks: Iterable[str], lines: Iterable[Line]) -> Choices:
    """Takes `ID=CANDIDATE`, or `ID:SENTENCE=CANDIDATE` for a line of several sentences.

    Raises:
        ConfigError: something else, or an id that is not in the corpus.
    """
    texts = {line.id: _digest(line) for line in lines}
    changed = dict(choices.by_id)
    for text in picks:
        match = _PICK.fullmatch(text)
        if match is None or match["sentence"] == "0":
            raise ConfigError(f"--pick {text!r}: write ID=CANDIDATE, or ID:SENTENCE=CANDIDATE with sentences from 1")
        _check_id("--pick", match["id"], texts)
        before = _of(changed, match["id"], texts)
        picked = before.picks | {match["sentence"] or "1": int(match["candidate"])}
        changed[match["id"]] = replace(before, picks=picked)
    return replace(choices, by_id=changed)


def _of(by_id: Mapping[str, Choice], name: str, texts: Mapping[str, str]) -> Choice:
    return by_id.get(name) or Choice(texts[name])


def _check_id(option: str, name: str, texts: Mapping[str, str]) -> None:
    if name not in texts:
        raise ConfigError(f"{option}: there is no id {name!r} in the corpus{near_miss(name, texts)}")


def _digest(line: Line) -> str:
    return digest([line.text])[:16]
