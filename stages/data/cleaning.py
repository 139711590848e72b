"""From what a corpus lists to what can be trained on: every recording becomes a row or a problem with its reason.

Sound is made once per file and settings (`clips.py`, `journal.py`); limits, duplicates, transcripts and the split are
judged anew in every run, so that changing a limit opens no file.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stages.core.artifacts import ArtifactStore
from stages.core.config import ConfigError
from stages.core.files import make_folder, remove_abandoned
from stages.core.hearing import normalise
from stages.data.clips import FOLDER, Clip, Failed, Job, Outcome, Sound, level_after, make_clips
from stages.data.decoding import NOTES
from stages.data.isolation import isolated
from stages.data.journal import Journal
from stages.data.mismatch import Heard, Spoken, hear
from stages.data.recording import Problem, Recording
from stages.data.split import SplitConfig, split
from stages.data.vad import shifted

Progress = Callable[[str, int, int], None]
"""(what, done, wanted), told now and then"""
_TIMING = 0.1
"""seconds that phone timings may pass the end of their sound"""


@dataclass(frozen=True)
class CleanConfig:
    """How a corpus is cleaned; the `clean:` block of configs/data/*.yaml."""

    sample_rate: int = 16000
    """of the clips, Hz; that of configs/audio.yaml"""
    loudness_lufs: float | None = -23.0
    """integrated loudness of every clip (ITU-R BS.1770-4; EBU R 128 asks for -23); null leaves levels as they are"""
    peak_db: float = -1.0
    """no gain lifts a peak above this, dB of full scale"""
    trim: bool = True
    """cut the silence before and after the speech; the pauses within stay"""
    padding_ms: float = 150.0
    """left beside the speech"""
    min_seconds: float = 0.5
    max_seconds: float = 20.0
    min_characters_per_second: float = 3.0
    """slower speech lacks words in its transcript"""
    max_characters_per_second: float = 30.0
    """faster speech lacks words in its sound"""
    max_clipped: float = 0.005
    """share of samples that may be stuck at full scale"""
    min_snr_db: float | None = None
    """drop noisier recordings, where the ratio can be told"""
    duplicate_sounds: bool = True
    """drop a sound that was there before"""
    duplicate_texts: bool = True
    """drop what the same speaker said before, word for word"""
    mismatch: float | None = None
    """highest character error rate between transcript and recogniser; null does not listen (0.6 suits pocketsphinx: 24
    clean clips had 0.50 at most with their own transcript, and 0.68 at least with another's)"""
    recogniser: str = "pocketsphinx"
    worst: int = 10
    """rows that the report shows of each kind of worst item"""

    def __post_init__(self) -> None:
        for wrong, said in (
            (not 8000 <= self.sample_rate <= 192000, f"sample_rate is {self.sample_rate}; give 8000 to 192000 Hz"),
            (self.loudness_lufs is not None and not -60 <= self.loudness_lufs <= 0,
             f"loudness_lufs is {self.loudness_lufs}; give -60 to 0, or null"),
            (not -60 <= self.peak_db <= 0, f"peak_db is {self.peak_db}; give -60 to 0"),
            (not 0 <= self.padding_ms <= 5000, f"padding_ms is {self.padding_ms}; give 0 to 5000"),
            (not 0 <= self.min_seconds < self.max_seconds, "min_seconds must be 0 or more and below max_seconds"),
            (not 0 <= self.min_characters_per_second < self.max_characters_per_second,
             "min_characters_per_second must be 0 or more and below max_characters_per_second"),
            (not 0 <= self.max_clipped <= 1, f"max_clipped is {self.max_clipped}; give a share, 0 to 1"),
            (self.mismatch is not None and not self.mismatch >= 0, f"mismatch is {self.mismatch}; give 0 or more"),
            (self.worst < 0, f"worst is {self.worst}; give 0 or more"),
        ):  # fmt: skip
            if wrong:
                raise ValueError(said)

    @property
    def sound(self) -> Sound:
        """The part that decides the clips' bytes."""
        return Sound(self.sample_rate, self.loudness_lufs, self.peak_db, self.trim, self.padding_ms)


@dataclass(frozen=True)
class Row:
    """An utterance that can be trained on."""

    id: str
    audio: Path
    """below the folder of the corpus: OUT/audio/<digest>.flac"""
    text: str
    speaker: str
    language: str
    duration: float
    """seconds, of the clip"""
    split: str
    """`train` or `valid`"""
    phones: tuple[tuple[str, float], ...]
    """(symbol, end in seconds of the clip); empty when the corpus has no timings"""
    where: str
    clip: Clip
    heard: Heard | None = None
    """what the recogniser made of it, if it listened"""

    @property
    def characters_per_second(self) -> float:
        """Of the transcript as it is written, spaces included."""
        return _characters(self.text) / self.duration

    @property
    def lufs(self) -> float | None:
        """Loudness of the clip; None where it is too quiet to have one."""
        return level_after(self.clip)

    def manifest(self, folder: Path) -> dict[str, Any]:
        """The row of a manifest in `folder`, as JSON can hold it."""
        return {
            "id": self.id, "audio": Path(os.path.relpath(self.audio, folder)).as_posix(), "text": self.text,
            "speaker": self.speaker, "language": self.language, "duration": self.duration, "split": self.split,
            "phones": [list(p) for p in self.phones],
        }  # fmt: skip


@dataclass(frozen=True)
class Cleaned:
    """What became of a corpus: len(rows) + len(dropped) == read."""

    rows: list[Row]
    dropped: list[Problem]
    read: int
    notes: list[str]
    """sentences: what was converted, and what could not be checked"""
    report: Path
    """OUT/report.html"""
    made: int = 0
    """clips that this run made; the others were there"""
    lost: tuple[tuple[Row, Problem], ...] = ()
    """rows that were dropped after their sound had been made"""

    def __post_init__(self) -> None:
        if len(self.rows) + len(self.dropped) != self.read:
            raise AssertionError(f"{len(self.rows)} kept + {len(self.dropped)} dropped are not {self.read} read")

    def reasons(self) -> dict[str, int]:
        """How many were dropped for what, most first."""
        return dict(Counter(p.reason for p in self.dropped).most_common())


@dataclass
class _Item:
    """A recording on its way."""

    recording: Recording
    job: Job
    clip: Clip | None = None
    row: Row | None = None
    """also of an item that was dropped, when it got so far"""
    problem: Problem | None = None

    def drop(self, reason: str, detail: str) -> None:
        self.problem = Problem(self.recording.id, self.recording.where, reason, detail)


def clean(
    recordings: Iterable[Recording | Problem],
    config: CleanConfig,
    out: Path,
    workers: int = 2,
    progress: Progress | None = None,
    *,
    split_config: SplitConfig | None = None,
    store: ArtifactStore | None = None,
) -> Cleaned:
    """Cleans a corpus: clips in OUT/audio, and OUT/report.html and report.json about all of it.

    Goes on where an earlier run was stopped; files that did not change are not opened again.

    Args:
        recordings: what a reader yields; its problems are handed through.
        out: the folder of the corpus, made when it is missing.
        workers: processes; no result depends on it.
        split_config: None = its defaults.
        store: where transcripts of the recogniser are kept; None = OUT/cache.

    Raises:
        ConfigError: the folder cannot be written, a speaker to hold out is unknown, or a recogniser is missing.
    """
    from stages.data.report import write_report

    split_config = split_config or SplitConfig()
    entries = [_entry(r) for r in recordings]
    items = [entry for entry in entries if isinstance(entry, _Item)]
    split([(item.recording.id, item.recording.speaker) for item in items], split_config)  # refuses before any work
    try:
        make_folder(out / FOLDER)
        remove_abandoned(out / FOLDER)
        _check_texts(items)
        made = _make_sound(_open(items), config.sound, out, workers, progress)
        _judge(items, config, out)
        _drop_duplicates(_open(items), config)
        notes = _listen(_open(items), config, workers, store or ArtifactStore(out / "cache"), progress)
        _split(_open(items), split_config)
        dropped = [p for p in (e if isinstance(e, Problem) else e.problem for e in entries) if p is not None]
        rows = [item.row for item in _open(items) if item.row is not None]
        notes = [*conversions(rows), *notes]
        lost = tuple((item.row, item.problem) for item in items if item.row and item.problem)
        cleaned = Cleaned(rows, dropped, len(entries), notes, out / "report.html", made, lost)
        write_report(cleaned, lost, config, out)
    except OSError as error:
        raise ConfigError(f"{error.filename or out}: cannot be written ({error.strerror}); name a folder with room and "
                          "rights") from None  # fmt: skip
    return cleaned


def _entry(recording: Recording | Problem) -> _Item | Problem:
    if isinstance(recording, Problem):
        return recording
    return _Item(recording, Job(Path(recording.audio), tuple((str(p), float(e)) for p, e in recording.phones)))


def _open(items: Sequence[_Item]) -> list[_Item]:
    return [item for item in items if item.problem is None]


def _check_texts(items: Sequence[_Item]) -> None:
    """Drops what needs no sound to be told."""
    first: dict[str, str] = {}
    for item in items:
        recording = item.recording
        if recording.id in first:
            item.drop("duplicate_id", f"{recording.where}: id {recording.id!r} is that of {first[recording.id]}; "
                      "give each utterance its own")  # fmt: skip
            continue
        first[recording.id] = recording.where
        if not recording.text.strip():
            item.drop("empty_text", f"{recording.where}: {recording.id} has no transcript; write what is spoken")
        elif not normalise(recording.text):
            item.drop("no_words", f"{recording.where}: the transcript {_shown(recording.text)} has no word")
        elif any(not b > a for (_, a), (_, b) in zip((("", 0.0), *item.job.phones), item.job.phones, strict=False)):
            item.drop("bad_timings", f"{recording.where}: the phones of {recording.id} do not end one after the other; "
                      "leave the timings out")  # fmt: skip


def _make_sound(items: list[_Item], sound: Sound, out: Path, workers: int, progress: Progress | None) -> int:
    """Finds or makes every clip, drops what has none; returns how many were made."""
    journal = Journal(out, sound)
    outcomes = {item.job: journal.look(item.job) for item in items}
    todo = [job for job, outcome in outcomes.items() if outcome is None]
    done, total = len(outcomes) - len(todo), len(outcomes)
    if progress:
        progress("sound", done, total)
    for jobs, results in isolated(make_clips, (sound, out), todo, workers, _fallen):
        journal.add(jobs, results)
        outcomes.update(zip(jobs, results, strict=True))
        done += len(jobs)
        if progress:
            progress("sound", done, total)
    journal.compact()
    for item in items:
        outcome = outcomes[item.job]
        assert outcome is not None
        if isinstance(outcome.result, Failed):
            item.drop(outcome.result.reason, outcome.result.detail)
        else:
            item.clip = outcome.result
    return len(todo)


def _fallen(job: Job) -> Outcome:
    said = f"{job.source}: reading it ends the process (too large for the memory, or it breaks its decoder)"
    return Outcome(Failed("unreadable_audio", f"{said}; convert it to wav or flac"), lasting=False)


def _judge(items: Sequence[_Item], config: CleanConfig, out: Path) -> None:
    """Makes rows of what is within the limits."""
    for item in items:
        if item.clip is None:
            continue
        recording, clip = item.recording, item.clip
        phones = shifted(item.job.phones, clip.start, clip.seconds)
        item.row = Row(recording.id, out / clip.audio, " ".join(recording.text.split()), recording.speaker,
                       recording.language, round(clip.seconds, 4), "", phones, recording.where, clip)  # fmt: skip
        fault = _fault(item.row, item.job, config)
        if fault:
            item.drop(fault[0], f"{recording.where}: {recording.id} {fault[1]}")


def _fault(row: Row, job: Job, config: CleanConfig) -> tuple[str, str] | None:
    """(reason, the rest of a sentence) when a row is beyond a limit."""
    clip, rate, end = row.clip, row.characters_per_second, job.phones[-1][1] if job.phones else 0.0
    if end > clip.source_seconds + _TIMING:
        return "bad_timings", f"has phones until {end:.2f} s in a sound of {clip.source_seconds:.2f} s; is it cut off?"
    if row.duration < config.min_seconds:
        return (
            "too_short",
            f"lasts {row.duration:.2f} s without silence; clean.min_seconds is {config.min_seconds:g}",
        )
    if row.duration > config.max_seconds:
        return (
            "too_long",
            f"lasts {row.duration:.2f} s; cut it (clean.max_seconds is {config.max_seconds:g})",
        )
    if rate < config.min_characters_per_second:
        return "too_slow", (f"has {rate:.1f} characters a second, less than {config.min_characters_per_second:g}; its "
                            "transcript may lack words")  # fmt: skip
    if rate > config.max_characters_per_second:
        return "too_fast", (f"has {rate:.1f} characters a second, more than {config.max_characters_per_second:g}; its "
                            "sound may be cut off, or its transcript another's")  # fmt: skip
    if clip.clipped > config.max_clipped:
        return "clipped", f"has {100 * clip.clipped:.2f} % of its samples at full scale; record it with less gain"
    if config.min_snr_db is not None and clip.snr_db is not None and clip.snr_db < config.min_snr_db:
        return (
            "noisy",
            f"is only {clip.snr_db:.1f} dB above its noise; clean.min_snr_db is {config.min_snr_db:g}",
        )
    return None


def _drop_duplicates(items: Sequence[_Item], config: CleanConfig) -> None:
    sounds: dict[str, Recording] = {}
    texts: dict[tuple[str, str], Recording] = {}
    for item in items:
        recording = item.recording
        assert item.clip is not None
        said = (recording.speaker, normalise(recording.text))
        if config.duplicate_sounds and item.clip.sound in sounds:
            first = sounds[item.clip.sound]
            other = "" if normalise(first.text) == said[1] else ", with another transcript"
            item.drop("duplicate_sound", f"{recording.where}: {recording.id} sounds as {first.id} ({first.where}) to "
                      f"the last sample{other}; keep one")  # fmt: skip
        elif config.duplicate_texts and said in texts:
            first = texts[said]
            item.drop("duplicate_text", f"{recording.where}: {recording.id} says what {first.id} ({first.where}) says, "
                      "by the same speaker; keep one, or set clean.duplicate_texts=false")  # fmt: skip
        else:
            sounds.setdefault(item.clip.sound, recording)
            texts.setdefault(said, recording)


def _listen(
    items: Sequence[_Item], config: CleanConfig, workers: int, store: ArtifactStore, progress: Progress | None
) -> list[str]:
    """Lets the recogniser judge the transcripts, when it is asked to; returns what it could not."""
    if config.mismatch is None:
        return []
    english = [item for item in items if re.split("[-_]", item.recording.language.lower())[0] == "en"]
    clips = [Spoken(item.row.audio, item.row.text) for item in english if item.row]
    told = (lambda done, wanted: progress("transcripts", done, wanted)) if progress else None
    deaf = 0
    for item, heard in zip(english, hear(clips, config.recogniser, workers, store, told), strict=True):
        assert item.row is not None
        item.row, deaf = replace(item.row, heard=heard), deaf + (heard is None)
        if heard is not None and heard.cer > config.mismatch:
            item.drop("transcript_mismatch", f"{item.recording.where}: {item.recording.id} is written "
                      f"{_shown(item.recording.text)}, {config.recogniser} heard {_shown(heard.words) or 'nothing'} "
                      f"(CER {100 * heard.cer:.0f} %)")  # fmt: skip
    others = len(items) - len(english)
    notes = [f"{others} transcripts were not checked: {config.recogniser} hears English only"] if others else []
    return notes + ([f"{deaf} transcripts were not checked: {config.recogniser} failed on their sound"] if deaf else [])


def _split(items: Sequence[_Item], config: SplitConfig) -> None:
    left = {item.recording.speaker for item in items}  # of a speaker to hold out, nothing may be left
    config = replace(config, speakers=tuple(s for s in config.speakers if s in left))
    places = split([(item.recording.id, item.recording.speaker) for item in items], config)
    for item, place in zip(items, places, strict=True):
        assert item.row is not None
        item.row = replace(item.row, split=place)


def conversions(rows: Sequence[Row]) -> list[str]:
    """Sentences: what was done to how many of the rows' sounds."""
    counts = Counter(note for row in rows for note in row.clip.notes)
    out = [f"{counts[name]} of {len(rows)}: {said}" for name, said in NOTES.items() if counts[name]]
    rates = Counter(row.clip.source_rate for row in rows if "resampled" in row.clip.notes)
    return out + [f"{n} of {len(rows)} came at {rate} Hz" for rate, n in sorted(rates.items())]


def _characters(text: str) -> int:
    return len(" ".join(text.split()))


def _shown(text: str, most: int = 60) -> str:
    return repr(text if len(text) <= most else text[: most - 1] + "…") if text else ""
