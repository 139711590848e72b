"""Every metric climbs (or falls) with its own degradation, Spearman 0.95 or more, and ignores what it should.

Degradations are put into the voices' clips step by step. A metric may move at most 5 % of the range that it has on its
own ladder for what it should not hear: level and polarity for all of them, and what its line names.
Tempo is not among what log-F0 RMSE ignores: the path of the warping is not that exact (see `prosody.Prosody`).
"""

import functools

import numpy as np
import pytest
from scipy.stats import spearmanr

from stages.core.audio import AudioSpec
from stages.core.types import Audio
from stages.core.voices import load_voice
from stages.evaluation.detectors import end_level, find_repeat
from stages.evaluation.distortion import duration_ratio, log_mel, mel_cepstral_distortion
from stages.evaluation.intelligibility import count, error_rates
from stages.evaluation.levels import measure_levels
from stages.evaluation.naturalness import dnsmos
from stages.evaluation.prosody import prosody
from stages.evaluation.similarity import embeddings, encoder, secs

SPEC, RATE = AudioSpec(), 16000
STEPS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


@functools.cache
def clip(voice="rms"):
    """Two and a half seconds of speech."""
    return load_voice(voice).clip.samples[2400:42400]


def audio(samples):
    return Audio(np.asarray(samples, np.float32), RATE)


def noisy(x, step):
    return x + step * 0.2 * np.random.default_rng(0).normal(0, 1, x.size)


def truncated(x, step):
    return x[: round(x.size * (1 - step))]


def reversed_part(x, step):
    """The last part, played backwards."""
    at = round(x.size * (1 - step))
    return np.concatenate([x[:at], x[at:][::-1]])


def swapped(x, step):
    """The last part is another voice's; all of it at the last step."""
    at = round(x.size * (1 - 2 * step))
    return np.concatenate([x[:at], clip("slt")[at:]])


def pitched(x, step):
    import librosa

    return librosa.effects.pitch_shift(x, sr=RATE, n_steps=-8 * step) if step else x


def slower(x, step):
    import librosa

    return librosa.effects.time_stretch(x, rate=1 / (1 + step)) if step else x


def clipped(x, step):
    return np.clip(x / np.abs(x).max() * (0.9 + 4 * step), -1, 1)


def paused(x, step):
    middle = x.size // 2
    return np.concatenate([x[:middle], np.zeros(round(step * RATE)), x[middle:]])


def mcd(x):
    return mel_cepstral_distortion(log_mel(audio(x), SPEC), log_mel(audio(clip()), SPEC))


def log_f0(x):
    return prosody(audio(x), audio(clip())).log_f0_rmse


def voicing(x):
    return prosody(audio(x), audio(clip())).voicing_error


@functools.cache
def own():
    return embeddings([audio(clip())], encoder())[0]


def unlike(x):
    return -secs(embeddings([audio(x)], encoder())[0], own())


def slowness(x):
    return duration_ratio(audio(x), audio(clip()))


LADDERS = {
    "mcd, noise": (mcd, noisy, ("level", "polarity")),
    "mcd, reversal": (mcd, reversed_part, ()),
    "mcd, truncation": (mcd, truncated, ()),
    "secs, speaker": (unlike, swapped, ("level", "polarity")),
    "log f0, pitch": (log_f0, pitched, ("level", "polarity")),
    "voicing error, noise": (voicing, noisy, ("level", "polarity")),
    "duration, tempo": (slowness, slower, ("level", "polarity", "noise", "pitch")),
    "duration, truncation": (lambda x: -slowness(x), truncated, ("level", "polarity", "noise")),
    "clipping, gain": (lambda x: measure_levels(audio(x)).clipped, clipped, ("polarity",)),
    "silence, pause": (lambda x: measure_levels(audio(x)).silence, paused, ("level", "polarity", "reversal")),
    "longest pause, pause": (lambda x: measure_levels(audio(x)).longest_pause, paused, ("level", "polarity")),
}
IGNORED = {
    "level": lambda x: 0.4 * x,
    "polarity": lambda x: -x,
    "tempo": lambda x: slower(x, 0.2),
    "pitch": lambda x: pitched(x, 0.2),
    "noise": lambda x: noisy(x, 0.1),
    "reversal": lambda x: x[::-1],
}


@pytest.mark.parametrize("name", LADDERS)
def test_ladder(name):
    metric, degrade, ignored = LADDERS[name]
    found = [metric(degrade(clip(), step)) for step in STEPS]
    assert np.isfinite(found).all()
    assert spearmanr(STEPS, found).statistic >= 0.95, found
    reach = max(found) - min(found)
    for other in ignored:
        moved = abs(metric(IGNORED[other](clip())) - metric(clip()))
        assert moved <= 0.05 * reach, f"{other} moves it {100 * moved / reach:.1f} % of its range"


def test_word_errors_climb_with_dropped_words():
    text = "the old clock in the hallway stopped ticking last winter"
    words = text.split()
    rates = [error_rates([count(text, " ".join(words[: len(words) - lost]))]) for lost in range(len(words))]
    for rate in zip(*rates, strict=True):
        assert spearmanr(range(len(words)), rate).statistic >= 0.95
    assert [wer for wer, _ in rates] == pytest.approx([n / 10 for n in range(10)])


def test_copies_become_unlike_with_noise():
    rng, x = np.random.default_rng(0), clip()
    levels = [0.0, 0.0003, 0.001, 0.003, 0.01]
    found = [find_repeat(np.concatenate([x, x + a * rng.normal(0, 1, x.size)]).astype(np.float32)) for a in levels]
    assert spearmanr(levels, [repeat.distance for repeat in found]).statistic >= 0.95


def test_an_end_becomes_abrupt_with_its_fade():
    """The end of a cut clip, faded out over less and less time."""
    ends = []
    for seconds in (0.4, 0.2, 0.1, 0.05, 0.0):
        samples, count_ = clip()[:30000].copy(), round(seconds * RATE)
        if count_:
            samples[-count_:] *= np.linspace(1, 0, count_, dtype=np.float32) ** 2
        ends.append(end_level(samples))
    assert spearmanr(range(5), ends).statistic >= 0.95, ends


@pytest.mark.slow
@pytest.mark.parametrize("name", ["overall", "background"])
def test_dnsmos_falls_with_noise(name):
    x = load_voice("rms").clip.samples
    found = [getattr(dnsmos(audio(noisy(x, step))), name) for step in STEPS]
    assert spearmanr(STEPS, found).statistic <= -0.95, found


@pytest.mark.slow
def test_heard_words_get_lost_with_noise_and_truncation():
    """What pocketsphinx hears of the clip is the reference; noise and cuts take it away."""
    from stages.evaluation.intelligibility import recogniser, transcribe

    x = load_voice("rms").clip.samples
    for degrade, steps in ((truncated, STEPS), (noisy, (0.0, 0.05, 0.1, 0.2, 0.5))):
        heard = transcribe([audio(degrade(x, step)) for step in steps], recogniser("pocketsphinx"))
        rates = [error_rates([count(heard[0], text)])[1] for text in heard]
        assert spearmanr(steps, rates).statistic >= 0.95, (degrade.__name__, rates)
