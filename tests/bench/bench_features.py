"""Features of a corpus: first run, second run, one more row: python tests/bench/bench_features.py [MINUTES] [WORKERS]

The corpus is the voices' clips, each utterance with noise of its own. Prints seconds, and seconds of sound per second.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from stages.core.audio import AudioSpec  # noqa: E402
from stages.data.features import build_features  # noqa: E402


def corpus(folder, seconds):
    """Writes utterances of together so many seconds; gives their manifest rows."""
    clips = [soundfile.read(path, dtype="float32")[0] for path in sorted(ROOT.glob("artifacts/voices/*/clip.flac"))]
    rng, rows, total = np.random.default_rng(0), [], 0.0
    while total < seconds:
        sound = clips[len(rows) % len(clips)]
        sound = np.clip(sound + rng.normal(0, 1e-3, len(sound)), -1, 1).astype(np.float32)
        name = f"{len(rows)}.wav"
        soundfile.write(folder / name, sound, 16000, subtype="PCM_16")
        rows.append(
            {"id": name, "audio": name, "text": "Hi.", "speaker": "a", "duration": len(sound) / 16000, "phones": []}
        )
        total += len(sound) / 16000
    return rows


def main(minutes, workers):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = corpus(folder, 60 * minutes)
        manifest = folder / "manifest.jsonl"
        for what, count in (("first run", len(rows) - 1), ("second run", len(rows) - 1), ("one more", len(rows))):
            manifest.write_text("".join(json.dumps(row) + "\n" for row in rows[:count]))
            start = time.perf_counter()
            build_features(manifest, AudioSpec(), workers)
            taken = time.perf_counter() - start
            print(
                f"{what:10} {count} utterances, {workers} workers: {taken:6.2f} s, {60 * minutes / taken:7.0f} x",
                flush=True,
            )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0, int(sys.argv[2]) if len(sys.argv) > 2 else 2)
