"""A rerank stage whose judges of codes all score with the log-probability."""

from fakestages.judged.config import SPEC

from stages.core.types import Candidates, RankedCodes
from stages.rerank.config import LISTENERS


class JudgedStage:
    SPEC = SPEC

    def __init__(self, config):
        self.judges = [name for name in config.judges if name not in LISTENERS]

    @classmethod
    def load(cls, config, device):
        return cls(config)

    def run(self, batch, *, seeds):
        return [self.one(item[Candidates].items) for item in batch]

    def one(self, items):
        scores = tuple(c.log_prob for c in items)
        best = scores.index(max(scores))
        return RankedCodes(items[best].codes, best, {name: scores for name in self.judges}, items[best].faults)
