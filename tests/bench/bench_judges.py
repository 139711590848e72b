"""What each judge is worth: the same candidates, rendered and heard once, chosen among by other judges.

    python tests/bench/bench_judges.py [--limit 120] [--candidates 8] [--voice rms] [--cache DIR] [--set KEY=VALUE]

WER is that of the recogniser that the judge `asr` listens with, so it flatters this judge. Beside it stands the WER of
the chosen sounds when they are heard again through white noise 40 dB below the speech: what was chosen for a slip of
the recogniser only does not keep its advantage there. Bar: with asr at 8 candidates the voice rms is understood as well
as its teacher (5.3 %). Prints a table, the seconds by stage, and as the last line one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from processes import ROOT

from stages.core.artifacts import ArtifactStore
from stages.core.hearing import RECOGNISERS, Counts, count, normalise
from stages.core.pipeline import Pipeline
from stages.core.route import load_route
from stages.core.types import Audio, Candidate, Candidates, Heard, Phonemes, RankedCodes
from stages.core.units import Unit
from stages.core.voices import load_voice
from stages.evaluation.intelligibility import transcribe
from stages.rerank.choose.config import ChooseConfig
from stages.rerank.choose.stage import ChooseStage
from stages.rerank.config import WEIGHTS, weights_of

CODES = ["clip", "phones", "log_prob", "faults"]
JUDGES = {
    "codes (default)": CODES,
    "similarity": ["similarity"],
    "duration": ["duration"],
    "asr": ["asr"],
    "asr + clip": ["asr", "clip"],
    "asr + codes": [*CODES, "asr"],
    "all": list(WEIGHTS),
}
NOISE_DB = -40.0


def noisy(audio: Audio, seed: int) -> Audio:
    """The sound with white noise NOISE_DB below its own level."""
    level = np.sqrt(np.mean(audio.samples**2)) * 10 ** (NOISE_DB / 20)
    noise = np.random.default_rng(seed).normal(0.0, level, audio.samples.size)
    return Audio((audio.samples + noise).astype(np.float32), audio.sample_rate)


class Heap:
    """All candidates of all sentences, rendered and heard."""

    def __init__(self, arguments: argparse.Namespace, cache: str) -> None:
        lines = (ROOT / "configs" / "evaluate" / "ordinary.txt").read_text().splitlines()
        texts = [line for line in lines if line.strip() and not line.startswith("#")][: arguments.limit]
        sets = [f"autoregressive.candidates={arguments.candidates}", f"rerank.judges=[{', '.join(WEIGHTS)}]"]
        self.pipeline = Pipeline(load_route("tortoise", None, [*sets, *arguments.set]))
        self.store = ArtifactStore(cache)
        documents = [self.pipeline.document(text, load_voice(arguments.voice), 0) for text in texts]
        self.pipeline.compute(documents, self.store, lambda units: print(".", end="", file=sys.stderr, flush=True))
        units = [unit for document in documents for unit in document.units]
        self.units = [unit for unit in units if unit.key not in self.pipeline.report.stopped]

    def all_of(self, kind: type, unit: Unit, stage: str) -> list[Any]:
        """What a stage gave for a sentence, by candidate. Raises KeyError when the store lost it."""
        index = [node.spec.name for node in self.pipeline.route.nodes].index(stage)
        found: dict[str, Any] = self.store.get_many(kind, unit.steps[index].keys)
        return [found[key] for key in unit.steps[index].keys]

    def reference(self, unit: Unit) -> str:
        """The words to be spoken, normalised."""
        (phonemes,) = self.all_of(Phonemes, unit, "text")
        return normalise(" ".join(word.spoken for word in phonemes.words))

    def chosen(self, judges: Sequence[str], unit: Unit) -> int:
        """The candidate that these judges choose."""
        stage = ChooseStage.load(ChooseConfig(weights_of(list(judges)), {}, 0), "cpu")
        heard = tuple(self.all_of(Heard, unit, "listen"))
        rows = Candidates(tuple(self.all_of(Candidate, unit, "autoregressive")))
        (ranked,) = self.all_of(RankedCodes, unit, "rerank")
        return stage.run([{Candidates: rows, RankedCodes: ranked, Heard: heard}], seeds=[0])[0].chosen

    def best(self, unit: Unit) -> int:
        """The candidate with the fewest word errors, then character errors."""
        heard = [h.measures for h in self.all_of(Heard, unit, "listen")]
        return min(range(len(heard)), key=lambda k: (heard[k]["wer"], heard[k]["cer"]))

    def again(self, unit: Unit, candidate: int) -> str:
        """What is heard in a candidate through noise."""
        key = unit.steps[-3].keys[candidate]
        sound = noisy(self.all_of(Audio, unit, "vocoder")[candidate], int(key[:8], 16))
        return transcribe([sound], RECOGNISERS["pocketsphinx"], store=self.store)[0]

    def row(self, picks: Sequence[int]) -> dict[str, float]:
        """How good the picked candidates are."""
        plain, through, like = [], [], []
        for unit, pick in zip(self.units, picks, strict=True):
            heard = self.all_of(Heard, unit, "listen")[pick]
            reference = self.reference(unit)
            plain.append(count(reference, heard.transcript))
            through.append(count(reference, self.again(unit, pick)))
            like.append(heard.measures["similarity"])
        return {
            "wer": round(100 * rate(plain), 2), "wer_through_noise": round(100 * rate(through), 2),
            "similarity": round(float(np.mean(like)), 4),
        }  # fmt: skip


def rate(counts: Sequence[Counts]) -> float:
    """Word errors over words."""
    return sum(c.word_errors for c in counts) / sum(c.words for c in counts)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=int, default=120)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--voice", default="rms")
    parser.add_argument("--cache")
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        heap = Heap(arguments, arguments.cache or folder)
        rows = {"first": heap.row([0] * len(heap.units))}
        rows |= {name: heap.row([heap.chosen(judges, u) for u in heap.units]) for name, judges in JUDGES.items()}
        rows["oracle"] = heap.row([heap.best(unit) for unit in heap.units])
    print()
    print(f"{'judges':18}{'WER %':>8}{'through noise %':>17}{'similarity':>12}")
    for name, row in rows.items():
        print(f"{name:18}{row['wer']:8.2f}{row['wer_through_noise']:17.2f}{row['similarity']:12.4f}")
    seconds = {name: round(s, 1) for name, s in heap.pipeline.report.stage_seconds.items()}
    print(f"{len(heap.units)} sentences, seconds by stage: {seconds}")
    print(json.dumps({"sentences": len(heap.units), "candidates": arguments.candidates, "rows": rows,
                      "stage_seconds": seconds}))  # fmt: skip


if __name__ == "__main__":
    main()
