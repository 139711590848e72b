"""A corpus becomes training data: read, cleaned, aligned, listed in a manifest, its features computed.

`python -m stages.data.prepare CONFIG [KEY=VALUE…]` does it all in this process; `caretta prepare` runs the same steps
as a flow. Every step finds what an earlier run has made.

In the folder OUT: `manifest.jsonl`, `rejected.jsonl` (every utterance that was left out, with its reason),
`report.html`, `audio/`, the folder of the features, and `prepared.json`, the account of the run.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from stages.core import symbols
from stages.core.artifacts import ArtifactStore
from stages.core.audio import AudioSpec
from stages.core.config import ConfigError, build, merge, to_plain
from stages.core.fingerprint import digest
from stages.data import aligners, clips, features
from stages.data.alignment import AlignConfig, Timings, align
from stages.data.cleaning import CleanConfig, Cleaned, clean
from stages.data.corpora import CorpusJob, read_corpus
from stages.data.features import build_features
from stages.data.manifest import write_rows
from stages.data.recording import Problem, Recording
from stages.data.report import write_report
from stages.data.split import SplitConfig

VERSION = 1
ACCOUNT = "prepared.json"
MANIFEST = "manifest.jsonl"
REJECTED = "rejected.jsonl"
ALL_OK, NOTHING_USABLE, SOME_DROPPED = 0, 1, 3

Progress = Callable[[str, float, float], None]
"""(what, done, wanted), told now and then"""


@dataclass(frozen=True)
class PrepareConfig:
    """What follows the reading; keys of configs/data/*.yaml beside the corpus's own."""

    out: str = ""
    workers: int = 2
    """processes; no result depends on it"""
    audio: AudioSpec = field(default_factory=AudioSpec)
    """of the features, and the clips' sample rate; `base: [../audio/22k.yaml]` in a config of configs/data"""
    clean: CleanConfig = field(default_factory=CleanConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    align: AlignConfig | None = field(default_factory=AlignConfig)
    """how rows without phone timings get them; null: they stay without"""

    def __post_init__(self) -> None:
        if not self.out:
            raise ValueError("give out: the folder that the training data goes to")
        if self.workers < 1:
            raise ValueError(f"workers is {self.workers}; give 1 or more")
        rate = self.audio.sample_rate
        if self.clean.sample_rate != rate:
            raise ValueError(
                f"clean.sample_rate is {self.clean.sample_rate}; the mel spectrogram is of {rate} Hz: set "
                "audio.sample_rate, the clips follow it"
            )


@dataclass(frozen=True)
class Job:
    """A data config that has been read."""

    path: str
    corpus: CorpusJob
    config: PrepareConfig | None
    """None for a corpus that is rendered: it has timings, and is clean as it was made"""


@dataclass(frozen=True)
class Account:
    """What became of a corpus: kept + dropped == read."""

    out: str
    read: int
    kept: int
    dropped: dict[str, int]
    """how many were left out for what, most first"""
    seconds: float
    """of speech that is kept"""
    speakers: int
    features: str
    """folder of the features; empty when nothing is kept"""
    report: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.kept + sum(self.dropped.values()) == self.read, "every utterance is kept or dropped"

    @property
    def code(self) -> int:
        """The exit code: 0 all kept, 3 some dropped, 1 nothing usable."""
        if not self.kept:
            return NOTHING_USABLE
        return SOME_DROPPED if self.dropped else ALL_OK

    def told(self) -> list[str]:
        """Lines for the user."""
        why = ", ".join(f"{reason} {count}" for reason, count in self.dropped.items())
        total = sum(self.dropped.values())
        lines = [f"read {self.read} = kept {self.kept} + dropped {total}{f' ({why})' if why else ''}"]
        if self.kept:
            lines.append(f"{Path(self.out) / MANIFEST}: {self.kept} utterances, {self.seconds / 3600:.2f} h, "
                         f"{self.speakers} speaker{'s' if self.speakers != 1 else ''}")  # fmt: skip
        lines += [f"note: {note}" for note in self.notes]
        if total:
            lines.append(f"{Path(self.out) / REJECTED}: every one that was dropped, and why")
        lines.append(f"report: {self.report}")
        return [*lines, f"features: {self.features}"] if self.features else lines


def read_job(path: str | Path, sets: Iterable[str] = ()) -> Job:
    """Reads a data config. Raises ConfigError naming the file and key."""
    corpus = read_corpus(path, sets)
    if corpus.read is None:
        return Job(str(path), corpus, None)
    rate = build(AudioSpec, corpus.steps.get("audio") or {}, f"{path}: audio").sample_rate
    config = build(PrepareConfig, merge({"clean": {"sample_rate": rate}}, corpus.steps), str(path))
    if Path(config.out).absolute() == Path(corpus.config.path).absolute():
        raise ConfigError(f"{path}: out is the corpus itself; name another folder, the corpus stays as it is")
    return Job(str(path), corpus, config)


class Preparation:
    """The steps of a job for a corpus that is read, in order; each leaves behind what the next one needs.

    Raises:
        ConfigError: from the steps: a corpus, a folder or a program that cannot be used.
    """

    def __init__(self, job: Job):
        assert job.config is not None and job.corpus.read is not None
        self.config = job.config
        self.out = Path(job.config.out)
        self.entries = list(job.corpus.read(job.corpus.config))
        self._key = _key(job, self.entries)
        self._cleaned: Cleaned | None = None
        self._rows: list[dict[str, Any]] = []

    def finished(self) -> Account | None:
        """The account of an earlier run when nothing has changed since and all it made is there; opens no sound."""
        try:
            found = json.loads((self.out / ACCOUNT).read_bytes())
            account = Account(**found["account"] | {"notes": tuple(found["account"]["notes"])})
            same = found["key"] == self._key and found["made"] == _made(account)
        except (OSError, ValueError, KeyError, TypeError, AssertionError):
            return None  # whatever it is, it is made again
        return account if same and "unreadable_audio" not in account.dropped else None  # that may go well this time

    def clean(self, progress: Progress | None = None) -> int:
        """Makes the clips and the report; returns the utterances that are kept."""
        config = self.config
        self._cleaned = clean(self.entries, config.clean, self.out, config.workers, progress, split_config=config.split)
        return len(self._cleaned.rows)

    def align(self, progress: Progress | None = None) -> int:
        """Gives phone timings to the rows that have none, and writes the manifest; returns the utterances in it."""
        cleaned = self._done()
        if self.config.align is not None:
            store = ArtifactStore(self.out / "cache")
            told = None if progress is None else lambda done, wanted: progress("alignment", done, wanted)
            found = align(cleaned.rows, self.config.align, store, self.config.workers, told)
            where = {row.id: row.where for row in cleaned.rows}
            lost = {p.id: replace(p, where=where[p.id]) for p in found.problems}
            self._cleaned = cleaned = _without(cleaned, lost, found.phones)
            if lost:
                write_report(cleaned, cleaned.lost, self.config.clean, self.out)
        self._rows = [row.manifest(self.out) for row in cleaned.rows]
        write_rows(self.out / MANIFEST, self._rows)
        write_rows(self.out / REJECTED, [asdict(problem) for problem in cleaned.dropped])
        return len(self._rows)

    def features(self, progress: Progress | None = None) -> Account:
        """Computes the features and closes the account."""
        cleaned, folder = self._done(), ""
        if self._rows:
            told = None if progress is None else lambda done, wanted: progress("features", done, wanted)
            folder = str(build_features(self.out / MANIFEST, self.config.audio, self.config.workers, told))
        account = Account(
            str(self.out), cleaned.read, len(self._rows), cleaned.reasons(), sum(r["duration"] for r in self._rows),
            len({r["speaker"] for r in self._rows}), folder, str(cleaned.report), (*cleaned.notes, *self._dull()),
        )  # fmt: skip
        record = {"key": self._key, "made": _made(account), "account": asdict(account)}
        write_rows(self.out / ACCOUNT, [record])
        return account

    def _dull(self) -> list[str]:
        """What must be said of sounds that were made at a lower rate than the features'."""
        rows, rate = self._done().rows, self.config.audio.sample_rate
        lower = sum(row.clip.source_rate < rate for row in rows)
        return [f"{lower} of {len(rows)} came at less than {rate} Hz: above half their own rate they are silent, and a "
                "model learns to be; take an AudioSpec of the corpus's own rate"] if lower else []  # fmt: skip

    def _done(self) -> Cleaned:
        if self._cleaned is None:
            raise RuntimeError("clean() comes first")
        return self._cleaned


def _without(cleaned: Cleaned, lost: dict[str, Problem], phones: dict[str, Timings]) -> Cleaned:
    """The same with phones for every row, but those that were lost on the way to them."""
    return replace(
        cleaned,
        rows=[replace(row, phones=phones[row.id]) for row in cleaned.rows if row.id not in lost],
        dropped=[*cleaned.dropped, *lost.values()],
        lost=(*cleaned.lost, *((row, lost[row.id]) for row in cleaned.rows if row.id in lost)),
    )


def prepare(job: Job, progress: Progress | None = None) -> Account:
    """All steps in this process. Raises ConfigError."""
    steps = Preparation(job)
    account = steps.finished()
    if account is None:
        steps.clean(progress)
        steps.align(progress)
        account = steps.features(progress)
    return account


def _key(job: Job, entries: Sequence[Recording | Problem]) -> str:
    """Of everything that the result depends on, a source's content by its size and time of change."""
    assert job.config is not None
    settings = to_plain(job.config)
    settings.pop("workers")
    audio = settings.pop("audio")
    versions = [VERSION, clips.VERSION, aligners.VERSION, features.VERSION, symbols.DIGEST, audio]
    return digest([versions, settings, [_entry(entry) for entry in entries]])


def _entry(entry: Recording | Problem) -> list[Any]:
    values = [str(value) if isinstance(value, Path) else value for value in astuple(entry)]
    return values + (_state(entry.audio) if isinstance(entry, Recording) else [])


def _made(account: Account) -> str:
    """Digest of the state of every file that a run leaves behind."""
    out = Path(account.out)
    paths = [out / MANIFEST, out / REJECTED, Path(account.report)]
    paths += sorted((out / clips.FOLDER).iterdir()) if (out / clips.FOLDER).is_dir() else []
    paths += sorted(Path(account.features).iterdir()) if account.features else []
    return digest([[str(path), *_state(path)] for path in paths])


def _state(path: Path) -> list[int]:
    try:
        stat = os.stat(path)
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns]


def main(arguments: Sequence[str]) -> int:
    """The command line without Prefect; returns the exit code. Raises ConfigError."""
    if not arguments:
        raise ConfigError("name a file of configs/data; further arguments are KEY=VALUE")
    job = read_job(arguments[0], arguments[1:])
    if job.corpus.render is not None:
        manifest = job.corpus.render(job.corpus.config, None)
        print(f"features: {build_features(manifest, AudioSpec())}")
        return ALL_OK
    account = prepare(job)
    print("\n".join(account.told()))
    return account.code


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ValueError, OSError) as problem:
        sys.exit(f"caretta: {problem}")
