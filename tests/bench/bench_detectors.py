"""Recall and false alarms of the detectors on flite speech with faults put into it, and the phone loop's own errors.

    python tests/bench/bench_detectors.py [--clips 210] [--seed 0] [--only NAME ...] [--cache DIR]

Every fault is put into every clip once: a cut anywhere in the speech (abrupt, or faded out and followed by silence), a
stretch of 0.25 to 1 s that is said again one to four times at once, full-scale clipping, a silence of 1.2 s in the
middle, digital silence. Bar: recall of truncation and loops 99 % or more, false alarms on clean speech 1 % or less.
Prints a line by fault, the phone error rate of the clean speech, and as the last line one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable

import numpy as np
from processes import ROOT

from stages.core.artifacts import ArtifactStore
from stages.core.types import Audio
from stages.evaluation.bench import render_teacher
from stages.evaluation.detectors import find_faults
from stages.evaluation.phone_errors import heard_phones, phone_errors
from stages.text.stage import TextConfig, TextStage

VOICES = ("rms", "awb", "slt")
RATE = 16000
Maker = Callable[[np.ndarray, float, float, np.random.Generator], np.ndarray]
"""(samples, start and end of the speech in s, random) -> samples with the fault"""


def cut(samples: np.ndarray, start: float, end: float, rng: np.random.Generator) -> np.ndarray:
    """Ends somewhere within the speech, at most at 92 %."""
    return samples[: int(RATE * (start + (end - start) * rng.uniform(0.3, 0.92)))]


def faded(samples: np.ndarray, start: float, end: float, rng: np.random.Generator) -> np.ndarray:
    """The same, faded out in 10 ms and followed by silence: nothing in the signal's end tells."""
    out = cut(samples, start, end, rng).copy()
    out[-160:] *= np.linspace(1, 0, 160, dtype=np.float32)
    return np.pad(out, (0, RATE // 4))


def looped(samples: np.ndarray, start: float, end: float, rng: np.random.Generator) -> np.ndarray:
    """A stretch comes one to four times more."""
    length = rng.uniform(0.25, 1.0)
    first = int(RATE * rng.uniform(start, end - length))
    last = first + int(RATE * length)
    return np.concatenate([samples[:last], *[samples[first:last]] * int(rng.integers(1, 5)), samples[last:]])


def clipped(samples: np.ndarray, start: float, end: float, rng: np.random.Generator) -> np.ndarray:
    """Two to four times too loud."""
    return np.clip(samples / np.abs(samples).max() * rng.uniform(2, 4), -1, 1)


def paused(samples: np.ndarray, start: float, end: float, rng: np.random.Generator) -> np.ndarray:
    """A silence of 1.2 s in the middle."""
    at = int(RATE * (start + end) / 2)
    return np.concatenate([samples[:at], np.zeros(int(1.2 * RATE), np.float32), samples[at:]])


def dead(samples: np.ndarray, start: float, end: float, rng: np.random.Generator) -> np.ndarray:
    """Nothing is left."""
    return samples * np.float32(1e-4)


CASES: dict[str, tuple[Maker, frozenset[str]]] = {
    "truncation": (cut, frozenset({"truncated", "text_missing"})),
    "faded truncation": (faded, frozenset({"truncated", "text_missing"})),
    "loop": (looped, frozenset({"loop"})),
    "clipping": (clipped, frozenset({"clipped"})),
    "long pause": (paused, frozenset({"long_pause"})),
    "dead": (dead, frozenset({"dead"})),
}


def main() -> int:
    """Runs the bench; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=210)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", default="")
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=list(CASES))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return measure(arguments, ArtifactStore(arguments.cache or folder))


def measure(arguments: argparse.Namespace, store: ArtifactStore) -> int:
    """Puts every fault into every clip and counts."""
    lines = (ROOT / "configs" / "evaluate" / "ordinary.txt").read_text().splitlines()
    texts = [line for line in lines if line.strip() and not line.startswith("#")][: -(-arguments.clips // len(VOICES))]
    said = TextStage.load(TextConfig()).run([{str: text} for text in texts])
    rng = np.random.default_rng(arguments.seed)
    caught, alarms, clean, phones = Counter[str](), Counter[str](), [], []
    for voice in VOICES:
        for phonemes, clip in zip(said, render_teacher(texts, voice, store), strict=True):
            assert clip.audio is not None, clip.error
            samples, ends = clip.audio.samples, [end for _, end in clip.phones]
            faults = {f.name for f in find_faults(clip.audio, phonemes)}
            alarms.update(faults or {"none"})
            if faults:
                print(f"false alarm: {voice}: {phonemes.text}: {sorted(faults)}", flush=True)
            clean.append(clip.audio)
            phones.append([phone for phone, _ in clip.phones])
            for name in arguments.only:
                make, wanted = CASES[name]
                spoilt = Audio(make(samples, ends[0], ends[-2], rng).astype(np.float32), RATE)
                found = {f.name for f in find_faults(spoilt, phonemes)}
                caught[name] += bool(found & wanted)
                if not found & wanted:
                    print(f"missed: {name}: {voice}: {phonemes.text}: {sorted(found)}", flush=True)
    return report(arguments, caught, alarms, clean, phones)


def report(
    arguments: argparse.Namespace, caught: Counter[str], alarms: Counter[str], clean: list[Audio], phones: list
) -> int:
    """Prints what was counted."""
    count = len(clean)
    recall = {name: caught[name] / count for name in arguments.only}
    for name, share in recall.items():
        print(f"{name:<17} recall {100 * share:6.2f} % of {count}")
    false = {name: alarms[name] / count for name in alarms if name != "none"}
    any_false = 1 - alarms["none"] / count
    print(f"false alarms on clean speech {100 * any_false:.2f} % of {count}: {false or 'none'}")
    rate = phone_errors(phones, heard_phones(clean)).rate
    print(f"phone error rate of clean speech by the phone loop {100 * rate:.1f} %")
    print(json.dumps({"clips": count, "recall": recall, "false_alarms": any_false, "phone_error_rate": rate}))
    barred = [recall[name] for name in ("truncation", "faded truncation", "loop") if name in recall]
    return 0 if min(barred, default=1.0) >= 0.99 and any_false <= 0.01 else 1


if __name__ == "__main__":
    sys.exit(main())
