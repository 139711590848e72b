"""VCTK (Veaux, Yamagishi & MacDonald): 0.92 (two microphones, FLAC) and 0.80 (WAV), texts in `txt/<speaker>`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.core.config import ConfigError
from stages.data.corpora.folders import pair, sounds_by, walk
from stages.data.corpora.rows import Rows, SourceConfig, existing_folder, settled
from stages.data.recording import Problem, Recording

_SOUNDS = ("wav48_silence_trimmed", "wav48")


@dataclass(frozen=True)
class VctkConfig(SourceConfig):
    """`configs/data/vctk.yaml`; `path` is the folder of `txt` and `wav48_silence_trimmed` (or `wav48`)."""

    microphone: str = "mic1"
    """of VCTK 0.92: `mic1` (omnidirectional) or `mic2`, which p280 and p315 lack"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.microphone not in ("mic1", "mic2"):
            raise ValueError(f"microphone must be mic1 or mic2, not {self.microphone!r}")


CorpusConfig = VctkConfig


def read(config: VctkConfig) -> Iterator[Recording | Problem]:
    """Every sound of the microphone and every text; p315, whose texts were lost, comes as problems.

    Raises:
        ConfigError: the folder is no VCTK.
    """
    folder = existing_folder(config.path, "name the folder that holds txt and wav48_silence_trimmed (or wav48)")
    place = next((folder / name for name in _SOUNDS if (folder / name).is_dir()), None)
    if place is None or not (folder / "txt").is_dir():
        raise ConfigError(f"{folder}: holds no txt and {' or '.join(_SOUNDS)}; name the folder that does")
    ending = f"_{config.microphone}" if place.name == _SOUNDS[0] else ""
    ours = (p for p in walk(place) if p.stem.endswith(ending))
    sounds, found = sounds_by(lambda p: (p.parent.name, p.stem.removesuffix(ending)), ours)
    texts = {(p.parent.name, p.stem): p for p in walk(folder / "txt", ".txt")}
    rows = Rows(folder, config)
    for speaker, name in sorted(sounds.keys() | texts.keys()):
        sound, text = sounds.get((speaker, name)), texts.get((speaker, name))
        expected = place / speaker / f"{name}{ending}{'.flac' if ending else '.wav'}"
        if text is None:
            expected = Path(folder, "txt", speaker, f"{name}.txt")
        found.append(pair(rows, name, speaker, sound, text, expected))
    return settled(found, folder)
