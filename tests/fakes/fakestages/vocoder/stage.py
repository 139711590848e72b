import numpy as np
from fakestages.vocoder.config import SPEC

from stages.core.types import Audio, Mel


class VocoderStage:
    SPEC = SPEC

    def __init__(self, config):
        self.config = config

    @classmethod
    def load(cls, config, device):
        return cls(config)

    def run(self, batch, *, seeds):
        return [
            Audio(np.tanh(item[Mel].frames.reshape(-1) * self.config.gain).astype(np.float32), 16000) for item in batch
        ]
