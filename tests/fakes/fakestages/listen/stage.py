"""Hears in the sound's first samples how many words are wrong, in steps of a tenth."""

from fakestages.listen.config import SPEC

from stages.core.types import Audio, Heard


class ListenStage:
    SPEC = SPEC

    @classmethod
    def load(cls, config, device):
        return cls()

    def run(self, batch, *, seeds):
        assert len(batch) <= SPEC.batch
        return [self.one(item[Audio]) for item in batch]

    def one(self, audio):
        wrong = int(abs(float(audio.samples[:8].sum())) * 1e4) % 10
        measures = {"wer": wrong / 10, "cer": wrong / 20, "similarity": 1 - wrong / 10}
        return Heard({**measures, "seconds": audio.samples.size / 16000, "usual_seconds": 0.5}, f"{wrong} wrong")
