"""What each judge of the sound measures, on the voices' clips; how candidates are scored and chosen."""

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stages.core.speakers import embed
from stages.core.types import Audio, Candidate, Candidates, Heard, Phonemes, Pick, RankedCodes, SpeechCodes, Voice, Word
from stages.rerank.choose.config import ChooseConfig
from stages.rerank.choose.stage import BELOW, ChooseStage
from stages.rerank.listen.config import ListenConfig
from stages.rerank.listen.stage import ListenStage
from stages.rerank.listeners import LISTENERS, deviations, hear_words

VOICES = Path(__file__).resolve().parents[3] / "artifacts" / "voices"


def clip(name):
    samples, rate = soundfile.read(VOICES / name / "clip.flac", dtype="float32")
    return Audio(samples, rate)


@pytest.fixture(scope="module")
def voices():
    return {name: Voice(name, clip(name), "none", f"digest of {name}") for name in ("rms", "slt")}


def phonemes(words, phones=("aa",)):
    return Phonemes(words, tuple(Word(w, phones) for w in words.split()), ("pau", *phones * len(words.split()), "pau"))


def part(audio, start, end):
    n = len(audio.samples)
    return Audio(audio.samples[int(start * n) : int(end * n)], audio.sample_rate)


SILENCE = Audio(np.zeros(16000, np.float32), 16000)


def test_words_left_out_are_errors(voices):
    whole = voices["rms"].clip
    said = hear_words(phonemes("x"), voices["rms"], whole).transcript
    wers = [hear_words(phonemes(said), voices["rms"], part(whole, 0, end)).measures["wer"] for end in (1, 0.6, 0.2)]
    assert wers[0] == 0.0 and wers == sorted(wers) and 0.2 < wers[1] < wers[2] <= 1.0
    silent = hear_words(phonemes(said), voices["rms"], SILENCE)
    assert silent == Heard({"wer": 1.0, "cer": 1.0}, "")


def test_what_was_heard_before_changes_nothing(voices):
    stage = ListenStage.load(ListenConfig({"asr": "", "similarity": "", "duration": ""}), "cpu")
    items = [
        {Phonemes: phonemes("hello there"), Voice: voices[name], Audio: part(voices["rms"].clip, *span)}
        for name, span in (("rms", (0, 0.4)), ("slt", (0.3, 0.9)), ("rms", (0.5, 0.9)))
    ]
    together = stage.run(items, seeds=[0] * 3)
    assert together[::-1] == stage.run(items[::-1], seeds=[0] * 3)
    assert set(together[0].measures) == {"wer", "cer", "similarity", "seconds", "usual_seconds"}


def test_a_speaker_is_most_like_themselves(voices):
    def like(voice, audio):
        return LISTENERS["similarity"].hear(phonemes("a"), voices[voice], audio).measures["similarity"]

    own, other = like("rms", part(voices["rms"].clip, 0.5, 1)), like("slt", part(voices["rms"].clip, 0.5, 1))
    assert own > 0.8 > other and own > other + 0.15
    assert like("rms", SILENCE) == like("rms", part(voices["rms"].clip, 0, 1e-3)) == -1.0
    assert math.isclose(float(np.linalg.norm(embed(voices["slt"].clip))), 1.0, rel_tol=1e-5)


def clock(seconds, phones=20):
    audio = Audio(np.zeros(round(seconds * 16000), np.float32), 16000)
    return LISTENERS["duration"].hear(phonemes("a", ("aa",) * phones), None, audio)


def test_the_expected_length_is_between_phones_and_candidates():
    usual = 20 * 0.084 + 2 * 0.168
    assert clock(1.0).measures == {"seconds": 1.0, "usual_seconds": pytest.approx(usual)}
    found = deviations([clock(usual * s) for s in (0.5, 1.0, 1.0, 1.0, 2.0)])
    assert found == pytest.approx([math.log(2), 0, 0, 0, math.log(2)], abs=1e-3)
    slow = deviations([clock(usual * 1.3) for _ in range(8)])  # a slow voice is not a fault of every candidate
    assert max(slow) == pytest.approx(0.2 * math.log(1.3), abs=1e-3)
    alone = deviations([clock(usual * 3)])
    assert alone == pytest.approx([math.log(3) * 2 / 3], abs=1e-3)


def candidate(*faults):
    return Candidate(SpeechCodes(np.arange(3), "book"), 0, -1.0, faults)


def choose(wers, log_probs=(0.0, 0.0, 0.0), accept=None, pick=None):
    stage = ChooseStage.load(ChooseConfig({"log_prob": 1.0, "asr": 10.0}, accept or {}, 0), "cpu")
    heard = tuple(Heard({"wer": w, "cer": w / 2}, f"heard {w}") for w in wers)
    rows = Candidates((candidate(), candidate("loop"), candidate()))
    item = {Candidates: rows, RankedCodes: RankedCodes(rows.items[0].codes, 0, {"log_prob": log_probs}), Heard: heard}
    return stage.run([item if pick is None else {**item, Pick: Pick(pick)}], seeds=[0])[0]


def test_weighted_sum_decides():
    assert choose((0.3, 0.1, 0.2)).chosen == 1 and choose((0.3, 0.1, 0.2)).faults == ("loop",)
    found = choose((0.3, 0.1, 0.2), (0.0, -3.0, 0.0))
    assert found.chosen == 2 and found.met is None and found.transcript == "heard 0.2"
    assert found.scores["asr"] == pytest.approx((0.685, 0.895, 0.79))
    assert found.scores["total"] == pytest.approx((6.85, 5.95, 7.9))
    assert choose((0.2, 0.2, 0.2)).chosen == 0  # the first of equals


def test_an_acceptable_candidate_goes_before_a_better_sum():
    found = choose((0.1, 0.0, 0.3), (5.0, 0.0, 0.0), {"asr": 0.05})
    assert found.chosen == 1 and found.met is True and found.faults == ("loop",)
    none = choose((0.3, 0.4, 0.2), accept={"asr": 0.1})
    assert none.chosen == 2 and none.met is False and none.faults == (BELOW,)
    picked = choose((0.0, 0.4, 0.2), accept={"asr": 0.1}, pick=1)
    assert picked.chosen == 1 and picked.met is False and picked.faults == ("loop", BELOW)
