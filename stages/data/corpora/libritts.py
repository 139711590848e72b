"""LibriTTS (Zen et al. 2019): `<speaker>/<chapter>/<id>.wav` with `<id>.normalized.txt` and `<id>.original.txt`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stages.data.corpora.folders import pair, sounds_by, walk
from stages.data.corpora.rows import SOUNDS, Rows, SourceConfig, existing_folder, settled
from stages.data.recording import Problem, Recording


@dataclass(frozen=True)
class LibrittsConfig(SourceConfig):
    """`configs/data/libritts.yaml`; `path` is the corpus, or one of its parts (`train-clean-100`)."""

    text: str = "normalized"
    """the transcript to take: `normalized` or `original`"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.text not in ("normalized", "original"):
            raise ValueError(f"text must be normalized or original, not {self.text!r}")


CorpusConfig = LibrittsConfig


def read(config: LibrittsConfig) -> Iterator[Recording | Problem]:
    """Every sound and every transcript of the chosen kind. Raises ConfigError when there is none."""
    folder = existing_folder(config.path, "name the folder of LibriTTS or of one of its parts")
    ending = f".{config.text}.txt"
    rows = Rows(folder, config)
    sounds, found = sounds_by(lambda p: p.with_suffix(""), walk(folder))
    texts = {p.with_name(p.name.removesuffix(ending)): p for p in walk(folder, ending)}
    for stem in sorted(sounds.keys() | texts.keys()):
        sound, text = sounds.get(stem), texts.get(stem)
        expected = stem.with_name(stem.name + (SOUNDS[0] if sound is None else ending))
        found.append(pair(rows, stem.name, stem.name.split("_")[0], sound, text, expected))
    return settled(found, folder)
