"""How long cleaning takes: one hour of speech in files of 2 to 12 s, first run, second run, and the share of each step.

    python tests/bench/bench_prepare.py [--hours 1] [--workers 2] [--rate 22050]

The sounds are tiles of the voices' clips (artifacts/voices/*/clip.flac) at another rate, with noise and silence around
them, so that every step has its work: reading, resampling, detection, trimming, loudness, writing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import soundfile

from stages.core.files import write_all
from stages.data import clips
from stages.data.cleaning import CleanConfig, clean
from stages.data.recording import Recording

ROOT = Path(__file__).resolve().parents[2]


def make(folder: Path, hours: float, rate: int) -> list[Recording]:
    """A corpus of so many hours; every file differs from every other."""
    import librosa

    voices = {p.parent.name: librosa.load(p, sr=rate)[0] for p in sorted(ROOT.glob("artifacts/voices/*/clip.flac"))}
    rng, out, seconds = np.random.default_rng(0), [], 0.0
    while seconds < 3600 * hours:
        name = sorted(voices)[len(out) % len(voices)]
        voice, length = voices[name], round(rng.uniform(2, 12) * rate)
        start = int(rng.integers(len(voice)))
        quiet = np.zeros(round(rng.uniform(0.1, 0.8) * rate))
        sound = np.concatenate([quiet, np.resize(np.roll(voice, -start), length), quiet])
        sound = sound * rng.uniform(0.2, 0.8) + rng.standard_normal(len(sound)) * 3e-4
        path = folder / f"{len(out):05d}.wav"
        soundfile.write(path, np.clip(sound, -1, 1), rate, subtype="PCM_16")
        text = f"number {len(out)} " + "and some words of it " * round(length / rate / 1.6)
        out.append(Recording(f"u{len(out)}", path, text, name, f"list:{len(out) + 1}"))
        seconds += len(sound) / rate
    return out


def shares(recordings: list[Recording], config: CleanConfig, out: Path) -> None:
    """Prints seconds of work per hour of sound, step by step, in this process."""
    spent: dict[str, float] = defaultdict(float)

    def timed(step, call):
        def wrapped(*arguments, **named):
            started = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                spent[step] += time.perf_counter() - started

        return wrapped

    steps = {"decode": "decode", "resampled": "resample", "find_speech": "detect speech", "loudness": "loudness",
             "_flac": "encode"}  # fmt: skip
    own = {name: getattr(clips, name) for name in steps}
    clips.clip_of(recordings[0].audio.read_bytes(), "warm.wav", config.sound)  # imports
    try:
        for name, step in steps.items():
            setattr(clips, name, timed(step, own[name]))
        jobs = [clips.Job(r.audio) for r in recordings]
        started = time.perf_counter()
        read = timed("read and digest", lambda path: hashlib.sha256(path.read_bytes()))
        for job in jobs:
            read(job.source)
        files = {}
        for job in jobs:
            clip, data = clips.clip_of(job.source.read_bytes(), str(job.source), config.sound)
            files[out / clip.audio] = data
        (out / clips.FOLDER).mkdir(parents=True)
        timed("write (one commit)", write_all)(files)
        spent["the rest"] = time.perf_counter() - started - sum(spent.values())
    finally:
        for name in steps:
            setattr(clips, name, own[name])
    hours = sum(soundfile.info(r.audio).duration for r in recordings) / 3600
    total = sum(spent.values())
    for step, seconds in sorted(spent.items(), key=lambda s: -s[1]):
        print(f"  {step:20} {seconds / hours:6.1f} s an hour of sound, {100 * seconds / total:4.0f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rate", type=int, default=22050)
    given = parser.parse_args()
    config = CleanConfig(min_characters_per_second=0.0, max_characters_per_second=1000.0)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        source.mkdir()
        recordings = make(source, given.hours, given.rate)
        print(f"{len(recordings)} files, {given.hours:g} h at {given.rate} Hz, {given.workers} workers, "
              f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")  # fmt: skip
        took = []
        for run in ("first", "second"):
            before, started = os.times(), time.perf_counter()
            cleaned = clean(recordings, config, Path(folder, "out"), given.workers)
            took.append(time.perf_counter() - started)
            after = os.times()
            own = after.user + after.system - before.user - before.system
            children = after.children_user + after.children_system - before.children_user - before.children_system
            print(f"{run}: {took[-1]:.2f} s ({took[-1] / given.hours:.2f} s an hour of sound; processor "
                  f"{own:.1f} s here, {children:.1f} s in workers), made {cleaned.made}, kept {len(cleaned.rows)}, "
                  f"dropped {cleaned.reasons()}")  # fmt: skip
        print(f"first / second: {took[0] / took[1]:.0f}")
        shares(recordings[:: max(len(recordings) // 60, 1)], config, Path(folder, "steps"))


if __name__ == "__main__":
    main()
