import numpy as np
import pytest
import soundfile
import tinycorpus

from stages.data.vad import FRAME, RATE, find_speech, kept_span, shifted

PAD = 0.6


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """(L,) samples and (start, end) of what is no pause."""
    path = tmp_path_factory.mktemp("vad") / "a.wav"
    phones = tinycorpus.speak("rms", "the old ferry leaves every morning", path)
    samples, _ = soundfile.read(path, dtype="float32")
    return samples, phones[0][1], phones[-2][1]


@pytest.mark.parametrize("rate", [RATE, 22050])
@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-3])
def test_silence_is_found_and_speech_never_cut(spoken, noise, rate):
    from stages.data.levels import resampled

    samples, start, end = spoken
    quiet = np.zeros(round(PAD * RATE), np.float32)
    sound = np.concatenate([quiet, samples, quiet])
    sound = sound + noise * np.random.default_rng(0).standard_normal(len(sound)).astype(np.float32)
    found = find_speech(resampled(sound, RATE, rate), rate).span
    assert found is not None
    first, last = kept_span(found, len(sound) / RATE, 0.15)
    assert first <= PAD + start and last >= PAD + end
    assert first > PAD - 0.5 and last < PAD + end + 0.5


def test_silence_holds_no_speech():
    assert find_speech(np.zeros(RATE, np.float32), RATE).span is None
    assert find_speech(np.zeros(0, np.float32), RATE).span is None
    assert find_speech(np.zeros(100, np.float32), RATE).span is None


def detected(*frames):
    """The span, in frames, when the detector says so of a sound whose level tells nothing."""
    steady = np.random.default_rng(0).uniform(-0.01, 0.01, FRAME).astype(np.float32)
    found = find_speech(np.tile(steady, len(frames)), RATE, lambda _: np.array(frames, bool)).span
    return None if found is None else tuple(round(t * RATE / FRAME) for t in found)


def test_hysteresis_ignores_clicks_and_bridges_gaps():
    assert detected(0, 1, 0, 0, 0, 0, 0, 0, 0, 0) is None
    assert detected(0, 1, 1, 0, 0, 0, 1, 1, 0, 0) is None


def test_tails_are_kept():
    loud, quiet = np.full(FRAME, 0.1, np.float32), np.full(FRAME, 1e-4, np.float32)
    sound = np.concatenate([quiet] * 5 + [loud] * 10 + [quiet] * 5)
    speech = np.zeros(20, bool)
    speech[8:12] = True
    assert find_speech(sound, RATE, lambda _: speech).span == pytest.approx((0.15, 0.45))


def test_known_phones_are_never_cut():
    phones = (("pau", 0.5), ("ax", 0.7), ("t", 1.2), ("pau", 2.0))
    assert kept_span((0.8, 1.0), 2.0, 0.1, phones) == pytest.approx((0.4, 1.3))
    assert kept_span((0.8, 1.0), 2.0, 0.1) == pytest.approx((0.7, 1.1))
    assert kept_span((0.0, 2.0), 2.0, 0.1) == (0.0, 2.0)


def test_timings_move_with_the_cut():
    phones = (("pau", 0.5), ("ax", 0.7), ("t", 1.2), ("pau", 2.0))
    assert shifted(phones, 0.4, 0.9) == (("pau", 0.1), ("ax", 0.3), ("t", 0.8), ("pau", 0.9))
    assert shifted(phones, 0.5, 0.7) == (("ax", 0.2), ("t", 0.7))
    assert shifted(phones[:3], 0.4, 0.9)[-1] == ("pau", 0.9)
    assert shifted(phones, 0.0, 2.0) == phones
    assert shifted((), 0.4, 1.0) == ()
