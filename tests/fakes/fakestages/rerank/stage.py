from fakestages.rerank.config import SPEC

from stages.core.types import Candidates, Pick, RankedCodes


class RerankStage:
    SPEC = SPEC

    @classmethod
    def load(cls, config, device):
        return cls()

    def run(self, batch, *, seeds):
        assert all(seed == 0 for seed in seeds)
        return [self.one(item[Candidates].items, item.get(Pick)) for item in batch]

    def one(self, items, pick):
        scores = tuple(c.log_prob for c in items)
        best = pick.candidate if pick else scores.index(max(scores))
        return RankedCodes(items[best].codes, best, {"clip": scores}, items[best].faults)
