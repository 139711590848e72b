"""One recording's way to a clean clip: read, decode, resample, trim, measure, set the level, write. Plain functions of
the file's bytes and the settings, for worker processes."""

from __future__ import annotations

import hashlib
import io
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core.files import write_all
from stages.core.fingerprint import digest
from stages.data.decoding import Fault, decode
from stages.data.levels import decibel, gain, loudness, resampled, snr, to_int16
from stages.data.vad import find_speech, kept_span

VERSION = 1
"""raise it when the same file and settings should give another clip"""
FOLDER = "audio"
_LIKELY = ("wav", "flac", "mp3", "ogg", "opus", "WAV", "FLAC")


@dataclass(frozen=True)
class Sound:
    """What decides a clip's bytes, besides the file; see CleanConfig."""

    sample_rate: int
    loudness_lufs: float | None
    peak_db: float
    trim: bool
    padding_ms: float


@dataclass(frozen=True)
class Job:
    """One recording's sound."""

    source: Path
    phones: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Clip:
    """A clean clip on disk, and what was measured on the way."""

    audio: str
    """relative to the folder of the corpus: audio/<digest>.flac, 16-bit mono"""
    bytes: int
    mtime_ns: int
    digest: str
    """sha256 of that file"""
    sound: str
    """sha256 of the decoded mono samples and their rate: equal for the same sound in another format"""
    seconds: float
    start: float
    """seconds cut off at the start"""
    source_seconds: float
    source_rate: int
    channels: int
    format: str
    subtype: str
    peak_db: float
    """of the source, dB of full scale"""
    clipped: float
    """share of the source's samples that are stuck at full scale"""
    lufs: float | None
    """loudness before the gain"""
    gain_db: float
    snr_db: float | None
    """None where the source has too little of speech or of pauses to tell"""
    notes: tuple[str, ...]
    """keys of decoding.NOTES"""

    @property
    def trimmed(self) -> float:
        """Seconds that were cut off at both ends."""
        return max(self.source_seconds - self.seconds, 0.0)


@dataclass(frozen=True)
class Failed:
    """A file that gives no clip."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Outcome:
    """What became of a job; `size` and `mtime_ns` are the source's, -1 when it cannot be looked at."""

    result: Clip | Failed
    size: int = -1
    mtime_ns: int = -1
    source: str = ""
    """sha256 of the source's bytes, '' when it was not read"""
    lasting: bool = True
    """False: it may go well another time"""


def make_clips(jobs: Sequence[Job], sound: Sound, out: Path) -> list[Outcome]:
    """Makes the clips of some jobs and writes them in one commit; no job stops another.

    Raises:
        OSError: the clips cannot be written.
    """
    outcomes, files = [], {}
    for job in jobs:
        outcome, data = _outcome(job, sound)
        outcomes.append(outcome)
        if isinstance(outcome.result, Clip):
            files[out / outcome.result.audio] = data
    write_all(files)
    return [_with_stat(outcome, out) for outcome in outcomes]


def _with_stat(outcome: Outcome, out: Path) -> Outcome:
    if not isinstance(outcome.result, Clip):
        return outcome
    stat = (out / outcome.result.audio).stat()
    clip = Clip(**{**vars(outcome.result), "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns})
    return Outcome(clip, outcome.size, outcome.mtime_ns, outcome.source)


def _outcome(job: Job, sound: Sound) -> tuple[Outcome, bytes]:
    name = str(job.source)
    try:
        stat = job.source.stat()
        data = job.source.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        return Outcome(missing(job.source, error), lasting=False), b""
    seen = stat.st_size, stat.st_mtime_ns, hashlib.sha256(data).hexdigest()
    try:
        clip, samples = clip_of(data, name, sound, job.phones)
        return Outcome(clip, *seen), samples
    except Fault as fault:
        return Outcome(Failed(fault.reason, fault.detail), *seen), b""
    except Exception as error:  # whatever a library makes of a strange file, the other files go on
        last = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
        return Outcome(Failed("unreadable_audio", f"{name}: {said}; give another file"), *seen, lasting=False), b""


def missing(path: Path, error: Exception) -> Failed:
    """Why a file cannot be read, with the file beside it that may be meant."""
    if not isinstance(error, FileNotFoundError):
        said = getattr(error, "strerror", None) or str(error)
        return Failed("unreadable_audio", f"{path}: cannot be read ({said}); mend its name or its rights")
    beside = [path.with_suffix(f".{ending}") for ending in _LIKELY]
    beside += [path.with_name(path.name.lower()), path.with_name(path.name + ".wav")]
    near = next((p.name for p in beside if p != path and p.is_file()), None)
    mend = f"did you mean {near}?" if near else "correct the list or bring the file"
    return Failed("missing_audio", f"{path}: there is no such file; {mend}")


def clip_of(data: bytes, name: str, sound: Sound, phones: tuple[tuple[str, float], ...] = ()) -> tuple[Clip, bytes]:
    """The clip of a file's bytes and the bytes of its flac file (`bytes` and `mtime_ns` are not known before writing).

    Raises:
        Fault: of `decoding.decode`, or `no_speech`.
    """
    source = decode(data, name)
    notes = list(source.notes)
    if source.rate != sound.sample_rate:
        notes.append("resampled")
    samples = resampled(source.samples, source.rate, sound.sample_rate)
    seconds = len(samples) / sound.sample_rate
    speech = find_speech(samples, sound.sample_rate)
    if speech.span is None and sound.trim:
        raise Fault("no_speech", f"{name}: no speech was found in {seconds:.2f} s; listen to it, or set trim: false")
    start, end = 0.0, seconds
    if speech.span is not None and sound.trim:
        start, end = kept_span(speech.span, seconds, sound.padding_ms / 1000, phones)
    first = round(start * sound.sample_rate)
    cut = samples[first : round(end * sound.sample_rate)]
    lufs, said = loudness(cut, sound.sample_rate)
    peak = decibel(float(np.abs(cut).max()))
    gain_db, limited = gain(lufs, sound.loudness_lufs, peak, sound.peak_db)
    if sound.loudness_lufs is None:
        said = ""
    pcm = to_int16(cut, gain_db)
    flac = _flac(pcm, sound.sample_rate)
    clip = Clip(
        audio=f"{FOLDER}/{_name(data, sound, phones)}.flac", bytes=len(flac), mtime_ns=0,
        digest=hashlib.sha256(flac).hexdigest(), sound=_sound_digest(source.samples, source.rate),
        seconds=len(cut) / sound.sample_rate, start=first / sound.sample_rate,
        source_seconds=len(source.samples) / source.rate, source_rate=source.rate, channels=source.channels,
        format=source.format, subtype=source.subtype,
        peak_db=round(decibel(float(np.abs(source.samples).max())), 2), clipped=round(source.clipped, 6),
        lufs=None if lufs is None else round(lufs, 2), gain_db=round(gain_db, 3),
        snr_db=_rounded(snr(speech.levels, speech.frames)), notes=tuple(n for n in (*notes, said, limited) if n),
    )  # fmt: skip
    return clip, flac


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _name(data: bytes, sound: Sound, phones: tuple[tuple[str, float], ...]) -> str:
    """Of the clip's file: whatever decides its bytes."""
    source = hashlib.sha256(data).hexdigest()
    return digest(["clip", VERSION, vars(sound), source, [list(p) for p in phones] if sound.trim else []])[:40]


def _sound_digest(samples: np.ndarray, rate: int) -> str:
    found = hashlib.sha256(f"{rate} ".encode())
    found.update(samples.astype("<f4").tobytes())
    return found.hexdigest()


def _flac(pcm: np.ndarray, rate: int) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, pcm, rate, format="FLAC", subtype="PCM_16", compression_level=0.3)
    return file.getvalue()


def level_after(clip: Clip) -> float | None:
    """LUFS of the clip as it was written, to a tenth."""
    return None if clip.lufs is None else round(clip.lufs + clip.gain_db, 1)
