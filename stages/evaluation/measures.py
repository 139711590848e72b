"""What is measured beside the error rates: one function and one line in MEASURES each.

A measure gives every item a number or the reason why it has none; nothing is NaN and nothing is left out silently. One
whose model or package is missing says so in `check`, before any work, and never gives a number.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from stages.core.artifacts import ArtifactStore
from stages.core.audio import AudioSpec
from stages.core.config import ConfigError, near_miss
from stages.core.types import Audio, Voice
from stages.core.voices import list_voices, load_voice
from stages.data.pool import in_chunks
from stages.evaluation import distortion
from stages.evaluation.bench import Clip, Sentence
from stages.evaluation.config import EvaluateConfig
from stages.evaluation.detectors import find_faults
from stages.evaluation.distribution import NAME, distance_of_sets, windows
from stages.evaluation.levels import NotMeasurable, measure_levels
from stages.evaluation.naturalness import check_dnsmos, opinions
from stages.evaluation.phone_errors import PhoneReport, check_phones, heard_phones, phone_errors
from stages.evaluation.prosody import Prosody, prosody
from stages.evaluation.similarity import baselines, embeddings, encoder, normalised, secs

NO_SOUND = "no sound"
NO_REFERENCE = "no reference sound"


@dataclass(frozen=True)
class Score:
    """A number, or why there is none."""

    value: float | None
    reason: str = ""
    note: str = ""
    """what a reader of the sentence must know beside the number"""

    def __post_init__(self) -> None:
        if self.value is None and not self.reason:
            raise ValueError("a score without a number needs a reason")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"a score must be a finite number, not {self.value}; give None and the reason")


@dataclass(frozen=True, eq=False)
class Case:
    """One system in one voice: all that a measure may look at. Lists are in the order of the sentences."""

    sentences: Sequence[Sentence]
    clips: Sequence[Clip]
    heard: Sequence[str]
    truth: Sequence[Clip] | None
    """the reference's clips; None where nothing is compared with one"""
    voice: Voice
    spec: AudioSpec
    store: ArtifactStore
    workers: int = 1
    seed: int = 0
    speaker: str = "resemblyzer"
    """encoder of speakers"""
    advance: Callable[[int], None] = field(default=lambda more: None)

    @property
    def progress(self) -> Callable[[int, int], None]:
        """For what tells (done, wanted)."""
        before = 0

        def told(done: int, wanted: int) -> None:
            nonlocal before
            self.advance(done - before)
            before = done

        return told

    @property
    def sounds(self) -> list[Audio | None]:
        """Every clip's sound."""
        return [clip.audio for clip in self.clips]

    @property
    def references(self) -> list[Audio | None]:
        """The reference's sound for every clip."""
        return [None] * len(self.clips) if self.truth is None else [clip.audio for clip in self.truth]


@dataclass(frozen=True)
class Column:
    """One number of a measure."""

    name: str
    title: str
    better: Literal["lower", "higher", ""] = ""
    """'' where neither is: the difference is told without a verdict"""
    digits: int = 2
    shown: bool = True
    """in the table; all are in report.json"""


Scores = dict[str, list[Score]]
"""column -> a score per sentence, or one in all for a measure of the whole set"""


@dataclass(frozen=True)
class Measure:
    """How to measure, and what is needed for it."""

    columns: tuple[Column, ...]
    run: Callable[[Case], Scores]
    check: Callable[[EvaluateConfig], object] = lambda config: None
    """raises ConfigError naming what is missing"""
    whole: bool = False
    """of all sentences together: one score in all"""


def measure_distortion(case: Case) -> Scores:
    """MCD, mel L1 of the stage under test, and the ratio of the durations, against the reference."""
    out: Scores = {"mcd": [], "mel_l1": [], "duration": []}
    for clip, other in zip(case.clips, case.references, strict=True):
        for name, score in zip(out, _distortion(clip, other, case.spec), strict=True):
            out[name].append(score)
        case.advance(1)
    return out


def _distortion(clip: Clip, other: Audio | None, spec: AudioSpec) -> tuple[Score, Score, Score]:
    if clip.audio is None or other is None:
        return (Score(None, NO_SOUND if clip.audio is None else NO_REFERENCE),) * 3
    truth = distortion.log_mel(at_rate(other, spec.sample_rate), spec)
    mcd = distortion.mel_cepstral_distortion(truth, distortion.log_mel(at_rate(clip.audio, spec.sample_rate), spec))
    aligned = clip.mel is not None and len(clip.mel) == len(truth)
    l1 = Score(distortion.mel_l1(distortion.natural(clip.mel, spec), truth)) if aligned else Score(None, "not aligned")  # type: ignore[arg-type]
    return Score(mcd), l1, Score(distortion.duration_ratio(clip.audio, other))


def measure_similarity(case: Case) -> Scores:
    """Speaker similarity (SECS) to the voice's clip: raw, and between other speakers (0) and the same one (1).

    The same speaker is the voice's clip and the reference's sounds, the others are the clips of the other named voices.
    """
    own, count = encoder(case.speaker), len(case.clips)
    sounds = [*case.sounds, *case.references, case.voice.clip]
    found = embeddings(sounds, own, case.workers, case.store, case.progress)
    others = [load_voice(voice.name) for voice in list_voices() if voice.name != case.voice.name]
    speakers = {case.voice.name: [found[-1], *found[count:-1]]}
    for voice, each in zip(others, embeddings([v.clip for v in others], own, 1, case.store), strict=True):
        speakers[voice.name] = [each]
    raw = [scored(functools.partial(secs, each, found[-1])) for each in found[:count]]
    try:
        base = baselines(speakers)
    except NotMeasurable as error:
        return {"secs": raw, "secs_norm": [s if s.value is None else Score(None, str(error)) for s in raw]}
    on_scale = [s if s.value is None else Score(normalised(s.value, base.same, base.cross)) for s in raw]
    return {"secs": raw, "secs_norm": on_scale}


def measure_naturalness(case: Case) -> Scores:
    """DNSMOS: overall, speech and background (P.835), and P.808."""
    found = opinions(case.sounds, case.workers, case.store, case.progress)
    return _fields(found, {"dnsmos": "overall", "dnsmos_signal": "signal", "dnsmos_background": "background",
                           "dnsmos_p808": "p808"})  # fmt: skip


def measure_loudness(case: Case) -> Scores:
    """Loudness, clipping and silence."""
    found = [_or_reason(functools.partial(measure_levels, sound), case) for sound in case.sounds]
    return _fields(found, {"loudness": "loudness", "clipped": "clipped", "silence": "silence",
                           "longest_pause": "longest_pause"})  # fmt: skip


def measure_prosody(case: Case) -> Scores:
    """Log-F0 RMSE and voicing error against the reference."""
    rate = case.spec.sample_rate

    def one(ours: Audio | None, theirs: Audio | None) -> Prosody:
        if ours is None or theirs is None:
            raise NotMeasurable(NO_SOUND if ours is None else NO_REFERENCE)
        return prosody(at_rate(ours, rate), at_rate(theirs, rate), case.spec)

    pairs = zip(case.sounds, case.references, strict=True)
    found = [_or_reason(functools.partial(one, ours, theirs), case) for ours, theirs in pairs]
    out = _fields(found, {"log_f0_rmse": "log_f0_rmse", "voicing_error": "voicing_error"})
    out["log_f0_rmse"] = [  # where the rest of it could be measured, it says itself why this could not
        Score(None, each.reason) if isinstance(each, Prosody) and each.log_f0_rmse is None else score
        for each, score in zip(found, out["log_f0_rmse"], strict=True)
    ]
    return out


def measure_phones(case: Case) -> Scores:
    """Phone error rate of every sentence; no sound is 100 %, as with words."""
    heard = heard_phones(case.sounds, case.workers, case.store, case.advance)
    rates = [phone_errors([s.phones], [h]).rate for s, h in zip(case.sentences, heard, strict=True)]
    return {"phone_errors": [Score(rate) for rate in rates]}


def worst_phones(case: Case) -> PhoneReport:
    """Phone errors over all sentences, phone by phone; what was heard is read from the store."""
    heard = heard_phones(case.sounds, case.workers, case.store)
    return phone_errors([s.phones for s in case.sentences], heard)


def measure_faults(case: Case) -> Scores:
    """Whether a detector finds a fault in the sound (1) or none (0); which, is in the note. No sound is a fault."""
    jobs = [(c.audio, s.reference, h) for c, s, h in zip(case.clips, case.sentences, case.heard, strict=True)]
    found = in_chunks(_faults, (), jobs, case.workers, 4, case.progress, few=24)
    return {"faulty": [Score(float(bool(faults)), note=faults) for faults in found]}


def _faults(jobs: Sequence[tuple[Audio | None, str, str]]) -> list[str]:
    """The faults of every clip in words; '' for none."""
    found = [find_faults(audio, reference=reference, transcript=heard) for audio, reference, heard in jobs]
    return ["; ".join(f"{fault.name}: {fault.detail}" for fault in faults) for faults in found]


def measure_distribution(case: Case) -> Scores:
    """Fréchet distance of all sounds to all sounds of the reference."""
    if case.truth is None:
        return {"frechet": [Score(None, NO_REFERENCE)]}
    ours = windows(case.sounds, case.workers, case.store)
    theirs = windows(case.references, case.workers, case.store)
    return {"frechet": [scored(functools.partial(distance_of_sets, ours, theirs))]}


def _or_reason(measure: Callable[[], Any], case: Case) -> Any:
    """What a measure gives, or the reason (a str) why it gives nothing."""
    case.advance(1)
    try:
        return measure()
    except NotMeasurable as error:
        return str(error)


def _fields(found: Sequence[Any], names: Mapping[str, str]) -> Scores:
    """Columns from the fields of what a measure gave per sentence, or from its reasons; a field may be None."""

    def score(each: Any, name: str) -> Score:
        if isinstance(each, str):
            return Score(None, each)
        value = getattr(each, name)
        return Score(None, f"no {name.replace('_', ' ')}") if value is None else Score(float(value))

    return {column: [score(each, name) for each in found] for column, name in names.items()}


def scored(measure: Callable[[], float]) -> Score:
    """The number that a measure gives, or why it gives none."""
    try:
        return Score(float(measure()))
    except NotMeasurable as error:
        return Score(None, str(error))


def at_rate(audio: Audio, rate: int) -> Audio:
    """`audio` at `rate` samples per second; the same object when it is already."""
    if audio.sample_rate == rate:
        return audio
    import torch
    import torchaudio

    samples = torch.from_numpy(np.array(audio.samples, np.float32))
    return Audio(torchaudio.functional.resample(samples, audio.sample_rate, rate).numpy(), rate)


MEASURES = {
    "mcd": Measure(
        (
            Column("mcd", "MCD dB", "lower"),
            Column("mel_l1", "mel L1", "lower", 3),
            Column("duration", "duration"),
        ),
        measure_distortion,
    ),
    "secs": Measure(
        (Column("secs", "SECS", "higher"), Column("secs_norm", "SECS norm", "higher", shown=False)),
        measure_similarity,
        lambda config: encoder(config.speaker),
    ),
    "dnsmos": Measure(
        (
            Column("dnsmos", "DNSMOS", "higher"),
            Column("dnsmos_signal", "DNSMOS signal", "higher", shown=False),
            Column("dnsmos_background", "DNSMOS background", "higher", shown=False),
            Column("dnsmos_p808", "DNSMOS P.808", "higher", shown=False),
        ),
        measure_naturalness,
        lambda config: check_dnsmos(),
    ),
    "levels": Measure(
        (
            Column("loudness", "LUFS", digits=1),
            Column("clipped", "clipped", "lower", 4, shown=False),
            Column("silence", "silence"),
            Column("longest_pause", "longest pause s", shown=False),
        ),
        measure_loudness,
    ),
    "f0": Measure(
        (Column("log_f0_rmse", "log F0 RMSE", "lower", 3), Column("voicing_error", "V/UV error", "lower", 3)),
        measure_prosody,
    ),
    "phones": Measure((Column("phone_errors", "PER", "lower", 3),), measure_phones, lambda config: check_phones()),
    "faults": Measure((Column("faulty", "faulty", "lower", 3),), measure_faults),
    "frechet": Measure(
        (Column("frechet", NAME, "lower", 3, shown=False),),
        measure_distribution,
        lambda config: encoder("resemblyzer"),
        whole=True,
    ),
}
"""the error rates are no measure of this list: they are in every report, for coverage and words come first"""


def check_measures(config: EvaluateConfig) -> None:
    """Refuses unknown measures and those whose model is missing, by name. Raises ConfigError."""
    for name in config.measures:
        if name not in MEASURES:
            raise ConfigError(f"unknown measure {name!r}{near_miss(name, MEASURES)}")
        try:
            MEASURES[name].check(config)
        except ConfigError as error:
            raise ConfigError(f"measure {name!r}: {error}") from None


def columns(names: Sequence[str], whole: bool = False) -> list[Column]:
    """The columns of some measures, in order: those per sentence, or those of the whole set."""
    return [c for name in names if MEASURES[name].whole is whole for c in MEASURES[name].columns]


def measured(names: Sequence[str], case: Case, whole: bool = False) -> Scores:
    """Runs the measures per sentence (or those of the whole set).

    Raises:
        ValueError: a measure that does not give a score for every sentence.
    """
    found: Scores = {}
    wanted = 1 if whole else len(case.sentences)
    for name in names:
        if MEASURES[name].whole is not whole:
            continue
        scores = MEASURES[name].run(case)
        for column in MEASURES[name].columns:
            if len(scores[column.name]) != wanted:
                raise ValueError(
                    f"measure {name!r} gave {len(scores[column.name])} scores of {column.name}, not {wanted}"
                )
            found[column.name] = scores[column.name]
    return found
