"""Voice conversion by the starter's VITS: are the words kept, and whose voice is it? (needs flite)

    uv run python tests/bench/bench_conversion.py [--sentences 10]

flite says test sentences in each of its voices; each sound is converted to the two others. Printed per pair: WER of
the conversion and of its source (pocketsphinx), and the mean cosine of the conversion to the target's voice and to the
source's.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from stages.core.artifacts import MemoryStore
from stages.core.audio import read_audio
from stages.core.hearing import RATE, Counts, count, hear_pocketsphinx, normalise, pcm
from stages.core.route import load_route
from stages.core.types import Audio
from stages.core.voices import load_voice
from stages.data.corpora.starter import speak
from stages.evaluation.similarity import embeddings, encoder
from stages.vits import conversion

SENTENCES = Path("configs/evaluate/ordinary.txt")
VOICES = ("rms", "slt", "awb")


def rate_of(counts: list[Counts]) -> float:
    """Word error rate of a corpus, in per cent."""
    return 100 * sum(c.word_errors for c in counts) / sum(c.words for c in counts)


def heard(text: str, audio: Audio) -> Counts:
    """The errors of what was recognised."""
    return count(normalise(text), normalise(hear_pocketsphinx(pcm(audio))))


def main() -> None:
    """Prints a line per pair of voices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=10)
    texts = [line.strip() for line in SENTENCES.read_text().splitlines() if line.strip()]
    texts = texts[: parser.parse_args().sentences]
    route, store = load_route("vits"), MemoryStore()

    def vectors(clips: list[Audio]) -> np.ndarray:
        return np.stack([e.vector for e in embeddings(clips, encoder(), 1, store) if e.vector is not None])

    own = {name: vectors([load_voice(name).clip])[0] for name in VOICES}
    with tempfile.TemporaryDirectory() as folder:
        for source in VOICES:
            paths = [Path(folder) / f"{source}-{n}.wav" for n in range(len(texts))]
            for text, path in zip(texts, paths, strict=True):
                speak(source, text, path)
            before = [heard(t, Audio(read_audio(p, RATE), RATE)) for t, p in zip(texts, paths, strict=True)]
            for target in VOICES:
                if target == source:
                    continue
                job = conversion.plan(route, target, source)
                clips = [conversion.convert(job, path, 0).audio for path in paths]
                after = [heard(text, clip) for text, clip in zip(texts, clips, strict=True)]
                near, far = (float((vectors(clips) @ own[name]).mean()) for name in (target, source))
                print(f"{source} -> {target}: WER {rate_of(after):5.1f} % (source {rate_of(before):.1f}), "
                      f"cosine to the target {near:.2f}, to the source {far:.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
