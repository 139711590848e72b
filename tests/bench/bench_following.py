"""Whether a reference clip is followed: pseudo-speakers that no model has heard (needs flite).

    uv run python tests/bench/bench_following.py [--sentences 12]

Each unseen speaker says three sentences, which are the clip given as `--voice`, and the test sentences, which are what
the chain's should sound like. Printed per speaker: the cosine of the chain's sound to the speaker's own, that cosine
between 0 (the flite voice that the speaker was made of, the closest one that training knew under that name) and 1 (the
speaker's own other sentences), and for how many sentences the speaker is closer than every flite voice.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from stages.core.artifacts import ArtifactStore
from stages.core.audio import read_audio
from stages.core.pipeline import Pipeline
from stages.core.route import load_route
from stages.core.types import Audio
from stages.core.voices import load_voice
from stages.data.corpora.starter import PseudoSpeaker, speak
from stages.evaluation.similarity import embeddings, encoder, normalised

UNSEEN = {
    f"{voice}_{round(rate * 100):03d}": PseudoSpeaker(voice, rate)
    for voice in ("rms", "slt", "awb")
    for rate in (0.91, 1.11)
}
"""rates that configs/data/starter.yaml leaves out"""
VOICES = ("rms", "slt", "awb")
RATE = 16000
CLIP = (
    "The lamp above the old stone bridge was still burning.",
    "Nobody at the harbour could remember a colder morning.",
    "She counted the boats again, and then she wrote it down.",
)


def said(speaker: PseudoSpeaker, texts: list[str] | tuple[str, ...]) -> list[Audio]:
    """Every text by flite, as that speaker."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "x.wav", []
        for text in texts:
            speak(speaker.voice, text, path, speaker.rate)
            out.append(Audio(read_audio(path, RATE), RATE))
    return out


def vectors(clips: list[Audio], store: ArtifactStore) -> np.ndarray:
    """(n, D) speaker embeddings of the clips that have one."""
    return np.stack([e.vector for e in embeddings(clips, encoder(), 1, store) if e.vector is not None])


def between(one: np.ndarray, other: np.ndarray) -> float:
    """Mean cosine over the pairs of different sentences."""
    pairs = one @ other.T
    return float(pairs[~np.eye(len(one), len(other), dtype=bool)].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=12)
    parser.add_argument("--cache", default="artifacts/cache")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    texts = Path("configs/evaluate/ordinary.txt").read_text(encoding="utf-8").splitlines()[: options.sentences]
    pipeline, store = Pipeline(load_route(sets=options.set)), ArtifactStore(options.cache)
    flite = {name: vectors(said(PseudoSpeaker(name, 1.0), texts), store) for name in VOICES}
    print("speaker   cosine  0 (flite voice)  1 (itself)  normalised  closer than any flite voice")
    for name, speaker in UNSEEN.items():
        own = vectors(said(speaker, texts), store)
        ours = vectors(spoken(pipeline, store, speaker, texts), store)
        raw, same, cross = between(ours, own), between(own, own), between(own, flite[speaker.voice])
        others = np.stack([(ours @ flite[v].T).mean(axis=1) for v in VOICES])
        closer = int(((ours @ own.T).mean(axis=1) > others.max(axis=0)).sum())
        share = normalised(raw, same, cross)
        print(
            f"{name}   {raw:.3f}   {cross:.3f}            {same:.3f}       {share:.2f}        {closer} of {len(ours)}"
        )


def spoken(pipeline: Pipeline, store: ArtifactStore, speaker: PseudoSpeaker, texts: list[str]) -> list[Audio]:
    """The texts by the chain, in the voice of the speaker's clip."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.wav"
        soundfile.write(path, np.concatenate([clip.samples for clip in said(speaker, CLIP)]), RATE)
        voice = load_voice(str(path))
    documents = [pipeline.document(text, voice, 0) for text in texts]
    pipeline.compute(documents, store, lambda units: None)
    found = [pipeline.result(document, store).audio for document in documents]
    return [audio for audio in found if audio is not None]


if __name__ == "__main__":
    main()
