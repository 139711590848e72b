"""What `configs/evaluate/NAME.yaml` may hold."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from stages.core.config import ConfigError, build, near_miss

MATCHES = ("id", "order")
AUDIO = ("files", "embed", "none")


@dataclass(frozen=True)
class Entry:
    """One thing that is measured. In a configuration its name alone, or a mapping with what differs."""

    name: str
    kind: str = ""
    """a system of `systems.SYSTEMS`; empty = `pipeline`, or the folder where there is one"""
    folder: str = ""
    """of anyone's audio; {voice} in it stands for the voice"""
    metadata: str = ""
    """for the folder: a list of (file name without ending, text), where files are not named after the sentences"""
    match: str = "id"
    """for the folder: `id` by names, or `order`: the n-th file is the n-th sentence"""
    pipeline: str = ""
    """a route of its own; empty = that of the evaluation"""
    preset: str | None = None
    sets: tuple[str, ...] = ()
    """overrides of the route beside the evaluation's own, e.g. diffusion.checkpoint=PATH"""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name is empty; give every system a name")
        if self.match not in MATCHES:
            raise ValueError(f"match is {self.match!r}{near_miss(self.match, MATCHES)}")
        if self.folder and (self.kind or self.varies):
            raise ValueError(f"{self.name!r} names both a folder and how to speak; keep one")
        if self.metadata and not self.folder:
            raise ValueError(f"{self.name!r} has metadata and no folder; name the folder")

    @property
    def varies(self) -> bool:
        """Whether it speaks by another route than the evaluation's."""
        return bool(self.pipeline or self.preset or self.sets)


@dataclass(frozen=True)
class Matrix:
    """Every pipeline with every preset that it has, each as a system `PIPELINE/PRESET`."""

    pipelines: tuple[str, ...] = ()
    """empty = all of configs/synthesize/"""
    presets: tuple[str, ...] = ()
    """empty = all that a pipeline has"""


@dataclass(frozen=True)
class EvaluateConfig:
    """`configs/evaluate/NAME.yaml`"""

    sentences: str = ""
    """.txt (a sentence a line), .csv, .tsv or .jsonl (id and text), or a corpus's metadata.csv (id|text); under the
    repository root when it is not under the current directory. Empty = the metadata of the first folder"""
    limit: int = 0
    """only the first so many sentences; 0 = all"""
    voices: tuple[str, ...] = ("rms",)
    systems: tuple[Any, ...] = ("teacher", "pipeline")
    """names of systems, or mappings: {name: …, preset: …} speaks with what differs, {name: …, folder: …} is anyone's
    audio"""
    matrix: Matrix | None = None
    """these beside `systems`; one that cannot run is told by name, and the others go on"""
    pipeline: str = "tortoise"
    preset: str | None = None
    """None = the route's default"""
    seed: int = 0
    sets: tuple[str, ...] = ()
    """overrides of the route, each stage.key=value; `--set stage.key=value` adds to them"""
    measures: tuple[str, ...] = ("mcd", "f0", "secs", "faults")
    """of `measures.MEASURES`, beside the error rates"""
    reference: str = ""
    """the system whose sound others are compared with (MCD, pitch…); empty = the teacher, where a system needs it"""
    baseline: str = ""
    """the system that the others are compared with by intervals; empty = the first that
    speaks by a route, or else the first that is not the reference"""
    recogniser: str = "pocketsphinx"
    """or whisper:FOLDER, wav2vec2:FOLDER"""
    speaker: str = "resemblyzer"
    """encoder of speakers for the measure `secs`: resemblyzer, or wavlm:FOLDER"""
    codes: str = "artifacts/starter/codes"
    """checkpoint of the speech tokenizer, for the systems `codes` and `diffusion`"""
    out: str = ""
    """folder of the report; empty = artifacts/reports/NAME"""
    summary: str = ""
    """a JSON file for the numbers of the report alone, small enough to be committed"""
    audio: str = "files"
    """players of the page: `files` beside it, `embed` within it, or `none`"""
    speed: int = 0
    """sentences that every system that speaks by a route says again in a process of its own, nothing cached: for RTF
    and memory that do not depend on what ran before; 0 = no"""
    seeds: int = 0
    """seeds by which every system that speaks by a route says the first sentences, for its diversity; 0 = none"""
    workers: int = 2
    """processes that recognise and measure; no result depends on it"""
    draws: int = 2000
    """of the bootstrap"""
    flow: bool = True
    """run as a Prefect flow (`caretta evaluate`); false = the same steps without it"""

    def __post_init__(self) -> None:
        if not self.voices:
            raise ValueError("voices is empty; name at least one")
        if not self.entries and self.matrix is None:
            raise ValueError("systems is empty; name at least one")
        names = [entry.name for entry in self.entries]
        for what, values in (("voices", self.voices), ("systems", names), ("measures", self.measures)):
            if len(set(values)) != len(values):
                raise ValueError(f"{what} names one twice; name each once")
        for name, least in (("limit", 0), ("workers", 1), ("draws", 100), ("speed", 0), ("seeds", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; give {least} or more")
        if self.seeds == 1:
            raise ValueError("seeds is 1; one reading has no diversity: give 2 or more, or 0 for none")
        if self.audio not in AUDIO:
            raise ValueError(f"audio is {self.audio!r}{near_miss(self.audio, AUDIO)}")

    @functools.cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The systems. Raises ConfigError for one that is neither a name nor a mapping."""
        return tuple(_entry(value, f"systems[{number}]") for number, value in enumerate(self.systems))


def _entry(value: Any, where: str) -> Entry:
    if isinstance(value, str):
        return Entry(value, value)
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: expected a name or a mapping, got {value!r}")
    if "name" not in value:
        raise ConfigError(f"{where}: has no name; write {{name: …, preset: …}} or {{name: …, folder: …}}")
    return build(Entry, value, where)
