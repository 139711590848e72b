"""What became of every source file, so that a second run, or one after a crash, opens only those that changed."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.core.files import make_folder, write_atomic
from stages.core.fingerprint import digest, file_digest
from stages.data.clips import VERSION, Clip, Failed, Job, Outcome, Sound

NAME = "clips.jsonl"
_TYPES = typing.get_type_hints(Clip)


class Journal:
    """Outcomes by source file and settings, one JSON line each, appended while the work goes on.

    A file counts as unchanged when its size and time of change are those of then; only when they differ is it read to
    compare its digest. That holds for the source and for the clip made of it.
    """

    def __init__(self, out: Path, sound: Sound) -> None:
        """Reads OUT/clips.jsonl if there is one; a line that is torn or of another version is not used."""
        self.out, self.path = out, out / NAME
        self._settings = digest([VERSION, vars(sound)])
        self._records: dict[str, dict[str, Any]] = {}
        self._torn = self._lines = 0
        self._read()

    def _read(self) -> None:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return
        for line in filter(None, data.splitlines()):
            self._lines += 1
            try:
                record = json.loads(line)
                self._records[record["key"]] = record
            except (ValueError, TypeError, KeyError, RecursionError):
                self._torn += 1
        self._torn += bool(data) and not data.endswith(b"\n")

    def key(self, job: Job) -> str:
        """Of a job under these settings."""
        return digest([self._settings, str(job.source), [list(p) for p in job.phones]])

    def look(self, job: Job) -> Outcome | None:
        """What became of the job, None when it must be done (again)."""
        record = self._records.get(self.key(job))
        if record is None:
            return None
        try:
            outcome = _outcome(record)
            if not _unchanged(job.source, outcome.size, outcome.mtime_ns, outcome.source):
                return None
            clip = outcome.result
            whole = isinstance(clip, Failed) or _unchanged(
                self.out / clip.audio, clip.bytes, clip.mtime_ns, clip.digest
            )
        except (KeyError, TypeError, ValueError, OSError):
            return None
        return outcome if whole else None

    def add(self, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
        """Appends what will stay true. Raises OSError."""
        lines = []
        for job, outcome in zip(jobs, outcomes, strict=True):
            if outcome.lasting:
                key = self.key(job)
                self._records[key] = _record(key, outcome)
                lines.append(json.dumps(self._records[key]))
        if not lines:
            return
        make_folder(self.out)
        lead = "\n" if self._torn else ""  # after half a line of a crash
        self._torn = 0
        self._lines += len(lines)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(lead + "\n".join(lines) + "\n")

    def compact(self) -> None:
        """Writes the file anew when most of its lines were replaced by later ones. Raises OSError."""
        if self._lines > 2 * len(self._records) + 100:
            text = "".join(json.dumps(record) + "\n" for record in self._records.values())
            write_atomic(self.path, text.encode())
            self._lines = len(self._records)


def _record(key: str, outcome: Outcome) -> dict[str, Any]:
    kind = "clip" if isinstance(outcome.result, Clip) else "failed"
    seen = {"size": outcome.size, "mtime_ns": outcome.mtime_ns, "source": outcome.source}
    return {"key": key, **seen, kind: dataclasses.asdict(outcome.result)}


def _outcome(record: dict[str, Any]) -> Outcome:
    """Raises KeyError, TypeError or ValueError: no record of ours."""
    result: Clip | Failed
    if "clip" in record:
        values = {**record["clip"], "notes": tuple(record["clip"]["notes"])}
        if values.keys() != _TYPES.keys() or not str(values["audio"]).startswith("audio/") or ".." in values["audio"]:
            raise ValueError("no clip")
        result = Clip(**values)
    else:
        result = Failed(**record["failed"])
    return Outcome(result, int(record["size"]), int(record["mtime_ns"]), str(record["source"]))


def _unchanged(path: Path, size: int, mtime_ns: int, content: str) -> bool:
    """Raises OSError: the file is not there."""
    stat = path.stat()
    if stat.st_size != size:
        return False
    return stat.st_mtime_ns == mtime_ns or file_digest(path) == content
