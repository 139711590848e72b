"""Statistics of a corpus, and how they get into a model's config: written beside the features, never typed by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stages.core.config import ConfigError, build
from stages.core.files import write_atomic
from stages.core.symbols import SYMBOLS
from stages.data.features import Corpus, frame_energy

FILE = "statistics.json"


@dataclass(frozen=True)
class Moments:
    """Mean and population standard deviation of the values that are known."""

    count: int
    mean: float | None = None
    """None: there is no value"""
    std: float | None = None

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Moments of values (N,), in float64."""
        values = values.astype(np.float64)
        return cls(len(values), float(values.mean()), float(values.std())) if len(values) else cls(0)


@dataclass(frozen=True)
class SpeechStatistics:
    """Of one speaker, or of all together."""

    utterances: int
    seconds: float
    phones: int
    pitch: Moments
    """ln(Hz) of frames with a steady pitch"""
    energy: Moments
    """dB of full scale of all frames"""


@dataclass(frozen=True)
class CorpusStatistics:
    """What a training set is like."""

    whole: SpeechStatistics
    speakers: dict[str, SpeechStatistics]
    """by name, in the order of the corpus's speaker numbers"""
    symbols: tuple[str, ...]
    """those that occur, in the order of the symbol table"""
    languages: tuple[str, ...]
    """in the order of the corpus's language numbers"""


def statistics(corpus: Corpus) -> CorpusStatistics:
    """Statistics of a corpus; read from `statistics.json` in its folder, or worked out and written there."""
    path = corpus.folder / FILE
    if path.exists():
        try:
            return build(CorpusStatistics, json.loads(path.read_text(encoding="utf-8")), str(path))
        except (ValueError, AttributeError, TypeError):  # of another version, or damaged: it can be made again
            pass
    made = _statistics(corpus)
    write_atomic(path, (json.dumps(asdict(made), indent=1) + "\n").encode())
    return made


def _statistics(corpus: Corpus) -> CorpusStatistics:
    speakers = {}
    for number, name in enumerate(corpus.speakers):
        rows = np.flatnonzero(corpus.speaker_of == number)
        speakers[name] = _speech(corpus, rows)
    used = set(np.unique(corpus.phones).tolist())
    return CorpusStatistics(
        _speech(corpus, np.arange(len(corpus))),
        speakers,
        tuple(symbol for number, symbol in enumerate(SYMBOLS) if number in used),
        tuple(corpus.languages),
    )


def _speech(corpus: Corpus, rows: np.ndarray) -> SpeechStatistics:
    frames = [corpus.frames_of(i) for i in rows.tolist()]
    pitch = np.concatenate([corpus.pitch[span] for span in frames])
    energy = np.concatenate([_energy(corpus, i) for i in rows.tolist()])
    return SpeechStatistics(
        utterances=len(rows),
        seconds=len(pitch) / corpus.spec.frame_rate,
        phones=int(np.diff(corpus.phone_start)[rows].sum()),
        pitch=Moments.of(np.log(pitch[pitch > 0].astype(np.float64))),
        energy=Moments.of(energy),
    )


def _energy(corpus: Corpus, i: int) -> np.ndarray:
    """(T,) dB; worked out from the waveform where the features are older than energy."""
    if corpus.energy is not None:
        return corpus.energy[corpus.frames_of(i)]
    return frame_energy(corpus.audio[corpus.samples_of(i)].astype(np.float32) / 32767, corpus.spec)


_MOMENTS = ("pitch_mean", "pitch_std", "energy_mean", "energy_std")
FILLED = ("speakers", "symbols", "languages", *_MOMENTS)
"""hyper-parameters that the corpus decides where nobody gave them"""


def fill(network: Mapping[str, Any], fields: Mapping[str, Any], stats: CorpusStatistics) -> dict[str, Any]:
    """A model's hyper-parameters with those added that the corpus decides and nobody gave.

    Known are `speakers` (their number, or their names in the corpus's order), `languages` (likewise), `symbols` (the
    size of the symbol table, or the symbols that occur), `pitch_mean` and `pitch_std` (ln Hz), `energy_mean` and
    `energy_std` (dB). An int field gets the number, any other one the names.

    Args:
        network: the values that a training config gives; they win.
        fields: the model config's `__dataclass_fields__`.

    Raises:
        ConfigError: the model wants a number that the corpus does not have, such as the pitch of whispered speech.
    """
    out = dict(network)
    names = {"speakers": tuple(stats.speakers), "symbols": stats.symbols, "languages": stats.languages}
    counts = {kind: len(found) for kind, found in names.items()} | {"symbols": len(SYMBOLS)}
    for name, found in names.items():
        if name in fields and name not in out:
            out[name] = counts[name] if fields[name].type in (int, "int") else list(found)
    for name in _MOMENTS:
        if name in fields and name not in out:
            out[name] = _moment(name, stats.whole)
    return out


def _moment(name: str, speech: SpeechStatistics) -> float:
    kind, _, which = name.partition("_")
    value = getattr(getattr(speech, kind), which)
    if value is None or not math.isfinite(value):
        raise ConfigError(
            f"network.{name}: no frame of the corpus has a {kind}; give a number with --set network.{name}"
        )
    return float(value)
