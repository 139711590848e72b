"""LJSpeech (Ito & Johnson 2017): `metadata.csv` with `id|text|normalised` a line, sounds in `wavs/<id>.wav`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.core.config import ConfigError
from stages.data.corpora.rows import SOUNDS, ListConfig, Rows, existing_folder, settled
from stages.data.corpora.tables import columns
from stages.data.recording import Problem, Recording


@dataclass(frozen=True)
class LjspeechConfig(ListConfig):
    """`configs/data/ljspeech.yaml`; `path` is the folder of metadata.csv."""

    metadata: str = "metadata.csv"
    sounds: str = "wavs"
    column: str = "normalised"
    """the transcript to take: `normalised` (the third column; the second where it is empty) or `raw` (the second)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.column not in ("normalised", "raw"):
            raise ValueError(f"column must be normalised or raw, not {self.column!r}")


CorpusConfig = LjspeechConfig


def read(config: LjspeechConfig) -> Iterator[Recording | Problem]:
    """The rows of metadata.csv, in order. Raises ConfigError for a list that is none."""
    folder = existing_folder(config.path, "name the folder of metadata.csv")
    if not (folder / config.sounds).is_dir():
        raise ConfigError(f"{folder / config.sounds}: no such folder; LJSpeech has its sounds there (or set `sounds`)")
    rows = Rows(folder, config)
    found: list[Recording | Problem] = []
    for where, parts in columns(folder / config.metadata, (2, 3), "id|text|normalised"):
        if isinstance(parts, Problem):
            found.append(parts)
            continue
        name = parts[0].removesuffix(".wav").removeprefix(f"{config.sounds}/")
        text = parts[2] if len(parts) == 3 and parts[2] and config.column == "normalised" else parts[1]
        found.append(rows.row(where, _sound(folder, config.sounds, name), text, id=name or where))
    return settled(found, folder / config.metadata)


def _sound(folder: Path, sounds: str, name: str) -> str:
    """The sound of an id: .wav as the original has it, or another ending when only that is there."""
    plain = f"{sounds}/{name}"
    if ".." in Path(plain).parts or "\0" in plain:
        return f"{plain}.wav"
    return next((plain + end for end in SOUNDS if (folder / (plain + end)).is_file()), f"{plain}.wav")
