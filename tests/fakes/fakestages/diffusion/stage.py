import numpy as np
from fakestages.diffusion.config import SPEC

from stages.core.types import Mel, RankedCodes, Voice


class DiffusionStage:
    SPEC = SPEC

    def __init__(self, config):
        self.config = config

    @classmethod
    def load(cls, config, device):
        return cls(config)

    def run(self, batch, *, seeds):
        return [self.one(item, seed) for item, seed in zip(batch, seeds, strict=True)]

    def one(self, item, seed):
        noise = np.random.default_rng(seed).normal(size=(item[RankedCodes].codes.codes.size, 80)) / self.config.steps
        return Mel((noise + item[Voice].clip.samples[0]).astype(np.float32), "spec")
