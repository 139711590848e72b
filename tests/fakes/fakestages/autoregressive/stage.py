import numpy as np
from fakestages.autoregressive.config import SPEC

from stages.core.types import Candidate, Phonemes, SpeechCodes


class AutoregressiveStage:
    SPEC = SPEC

    @classmethod
    def load(cls, config, device):
        return cls()

    def run(self, batch, *, seeds):
        return [[self.one(item[Phonemes], seed) for seed in wanted] for item, wanted in zip(batch, seeds, strict=True)]

    def one(self, phonemes, seed):
        codes = np.random.default_rng(seed).integers(0, 512, 3 * len(phonemes.symbols))
        return Candidate(SpeechCodes(codes, "book"), seed, -float(codes.mean()), ("loop",) if seed % 2 else ())
