"""Error rates equal jiwer's, nothing missing flatters, and the recogniser forgets one utterance before the next."""

import shutil
import subprocess

import jiwer
import numpy as np
import pytest
import soundfile

from stages.core import hearing
from stages.core.artifacts import MemoryStore
from stages.core.config import ConfigError
from stages.core.types import Audio
from stages.evaluation.intelligibility import (
    Recogniser,
    count,
    error_rates,
    normalise,
    recogniser,
    transcribe,
    wer_difference,
    wer_interval,
    worst_words,
)

REFERENCES = ["the cat sat on the mat", "it is nine o'clock", "hello", "we don't know why"]
HYPOTHESES = ["the cat sat the mat", "it is is nine clock", "", "we do know why not now"]


def counts(hypotheses=HYPOTHESES):
    return [count(r, h) for r, h in zip(REFERENCES, hypotheses, strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", "hello world"),
        ("It's nine o\u2019clock \u2014 isn't it?", "it's nine o'clock isn't it"),
        ("'quoted' rock-and-roll  U S a.", "quoted rock and roll u s a"),
        ("boys' toys_here", "boys toys here"),
        ("?! \u2026", ""),
        ("twenty twenty six", "twenty twenty six"),
    ],
)
def test_normaliser(text, expected):
    assert normalise(text) == expected == normalise(expected)


def test_rates_equal_jiwer_exactly():
    wer, cer = error_rates(counts())
    assert wer == jiwer.wer(REFERENCES, HYPOTHESES) and cer == jiwer.cer(REFERENCES, HYPOTHESES)


def test_rates_equal_jiwer_on_many_random_texts():
    rng = np.random.default_rng(0)
    words = np.array(["one", "two", "three", "four", "five", "six"])
    references = [" ".join(rng.choice(words, rng.integers(1, 9))) for _ in range(50)]
    hypotheses = [" ".join(rng.choice(words, rng.integers(0, 9))) for _ in range(50)]
    found = error_rates([count(r, h) for r, h in zip(references, hypotheses, strict=True)])
    assert found == (jiwer.wer(references, hypotheses), jiwer.cer(references, hypotheses))


def test_missing_is_all_wrong():
    assert error_rates([count(r, "") for r in REFERENCES]) == (1.0, 1.0)
    with pytest.raises(ValueError, match="without words"):
        count("", "anything")


def test_missing_audio_is_never_heard_and_counts_as_nothing():
    def never(data):
        raise AssertionError("silence was given to the recogniser")

    deaf = Recogniser("deaf", never, lambda: "1")
    clips = [None, Audio(np.zeros(0, np.float32), 16000), Audio(np.zeros(16000, np.float32), 16000)]
    assert transcribe(clips, deaf) == ["", "", ""]
    with pytest.raises(ValueError, match="not numbers"):
        transcribe([Audio(np.array([0.5, np.nan], np.float32), 16000)], deaf)


def test_transcripts_are_kept_by_sound():
    calls = []

    def hear(data):
        calls.append(len(data))
        return f"Heard {len(data)}!"

    ears, store = Recogniser("ears", hear, lambda: "1"), MemoryStore()
    clips = [Audio(np.full(n, 0.5, np.float32), 16000) for n in (3, 4, 3)]
    assert transcribe(clips, ears, 1, store) == ["heard 6", "heard 8", "heard 6"] == transcribe(clips, ears, 1, store)
    assert calls == [6, 8]


def test_interval_holds_the_rate_and_is_seeded():
    many = counts() * 20
    wer = error_rates(many)[0]
    low, high = wer_interval(many, seed=3)
    assert low < wer < high and (low, high) == wer_interval(many, seed=3) != wer_interval(many, seed=4)
    assert wer_interval([count("a b", "a b")] * 5, 0) == (0.0, 0.0)


def test_difference_is_paired():
    many, perfect = counts() * 20, counts(REFERENCES) * 20
    same = wer_difference(many, many, 0)
    assert (same.wer, same.low, same.high, same.verdict) == (0.0, 0.0, 0.0, "no difference")
    assert wer_difference(many, perfect, 0).verdict == "worse" and wer_difference(perfect, many, 0).verdict == "better"
    with pytest.raises(ValueError, match="same items"):
        wer_difference(many, perfect[1:], 0)


def test_worst_words():
    worst = worst_words(["the cat", "the dog", "a dog"], ["the bat", "the", "a dog"])
    assert [(w.word, w.said, w.wrong, w.heard) for w in worst] == [
        ("cat", 1, 1, (("bat", 1),)),
        ("dog", 2, 1, (("", 1),)),
    ]


def test_unknown_recogniser_names_the_near_miss():
    with pytest.raises(ConfigError, match="did you mean 'pocketsphinx'"):
        recogniser("pocketsfinx")


def test_pocketsphinx_hears_nothing_in_silence_and_noise():
    noise = np.random.default_rng(0).normal(0, 0.01, 16000).astype(np.float32)
    clips = [Audio(np.zeros(16000, np.float32), 16000), Audio(noise, 16000), Audio(noise[:160], 16000)]
    assert transcribe(clips, recogniser("pocketsphinx")) == ["", "", ""]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Four flite sentences: (texts, clips)."""
    if not shutil.which("flite"):
        pytest.skip("flite is not installed")
    texts = ["We waited for the bus.", "The rain finally stopped.", "She opened the window.", "Wet sand and smoke."]
    folder, clips = tmp_path_factory.mktemp("flite"), []
    for number, text in enumerate(texts):
        path = folder / f"{number}.wav"
        subprocess.run(["flite", "-voice", "rms", "-t", text, "-o", str(path)], check=True, capture_output=True)
        samples, rate = soundfile.read(path, dtype="float32")
        clips.append(Audio(samples * (1.0, 0.1, 0.5, 0.02)[number], rate))  # other levels: other cepstral means
    return texts, clips


def test_pocketsphinx_is_order_independent(spoken):
    texts, clips = spoken
    by = recogniser("pocketsphinx")
    forward = transcribe(clips, by)
    assert forward[::-1] == transcribe(clips[::-1], by)
    hearing._decoder.cache_clear()
    assert transcribe([clips[-1]], by) == [forward[-1]]  # a decoder that has heard nothing before
    assert error_rates([count(normalise(t), h) for t, h in zip(texts, forward, strict=True)])[0] <= 0.35


def test_wer_climbs_the_degradation_ladder(spoken):
    texts, clips = spoken
    by, ladder = recogniser("pocketsphinx"), []
    for share in (1.0, 0.5, 0.1):  # of the sound that is left
        heard = transcribe([Audio(c.samples[: int(share * c.samples.size)], c.sample_rate) for c in clips[:2]], by)
        ladder.append(error_rates([count(normalise(t), h) for t, h in zip(texts[:2], heard, strict=True)])[0])
    assert ladder == sorted(set(ladder)) and ladder[-1] > 0.8
