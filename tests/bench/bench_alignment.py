"""Forced alignment against the timings that flite itself prints: python tests/bench/bench_alignment.py [SENTENCES]

Prints for each aligner and voice the error of the boundaries of the phones that text stage and flite agree on, how many
right texts were refused, how many wrong ones were taken, and seconds of work per second of sound.
"""

from __future__ import annotations

import difflib
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from stages.core.audio import read_audio  # noqa: E402
from stages.core.types import PAUSE  # noqa: E402
from stages.data.aligners import AlignConfig, NotAligned, make_aligner  # noqa: E402
from stages.data.corpora.grammar import sentences  # noqa: E402
from stages.data.corpora.starter import speak  # noqa: E402
from stages.text.stage import TextConfig, TextStage  # noqa: E402

VOICES = ("rms", "slt")


def errors(found, truth):
    """Seconds by which the ends of phones are late, for those that both sequences have; pauses are left out."""
    mine = [(p, end) for p, end in found if p != PAUSE]
    true = [(p, end) for p, end in truth if p != PAUSE]
    match = difflib.SequenceMatcher(None, [p for p, _ in mine], [p for p, _ in true], autojunk=False)
    return [mine[b.a + n][1] - true[b.b + n][1] for b in match.get_matching_blocks() for n in range(b.size)]


def measure(config, spoken, phonemes):
    """Prints one row per voice."""
    aligner = make_aligner(config)
    for voice in VOICES:
        late, refused, taken, phones, seconds, sound = [], 0, 0, 0, 0.0, 0.0
        for n, (path, truth) in enumerate(spoken[voice]):
            samples = read_audio(path, aligner.rate)
            start = time.perf_counter()
            try:
                late += errors(aligner(samples, phonemes[n]), truth)
                phones += sum(p != PAUSE for p, _ in truth)
            except NotAligned:
                refused += 1
            seconds, sound = seconds + time.perf_counter() - start, sound + len(samples) / aligner.rate
            try:
                aligner(samples, phonemes[(n + 7) % len(phonemes)])
                taken += 1
            except NotAligned:
                pass
        ms = 1000 * np.array(late)
        size, far = np.abs(ms), np.mean(np.abs(ms) > 50)
        print(
            f"{config.aligner:12} {voice}  mean {size.mean():5.1f} ms  median {np.median(size):5.1f}  "
            f"late by {ms.mean():+5.1f}  within 20 ms {np.mean(size <= 20):4.0%}  over 50 ms {far:4.1%}  "
            f"phones compared {len(ms)} of {phones}  refused {refused}/{len(spoken[voice])}  "
            f"wrong texts taken {taken}/{len(spoken[voice])}  {seconds / sound:.3f} s/s",
            flush=True,
        )


def main(count):
    texts = sentences(count, 4711)
    stage = TextStage.load(TextConfig())
    phonemes = [stage.run([{str: text}])[0] for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        spoken = {
            voice: [
                (path := Path(folder) / f"{voice}{n}.wav", speak(voice, text, path)) for n, text in enumerate(texts)
            ]
            for voice in VOICES
        }
        measure(AlignConfig(), spoken, phonemes)
        measure(AlignConfig(aligner="tokenizer", tokenizer=str(ROOT / "artifacts/starter/codes")), spoken, phonemes)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
