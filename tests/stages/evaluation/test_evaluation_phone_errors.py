"""Phone errors are jiwer's, folded as the listener hears, and kept by sound."""

import jiwer
import numpy as np
import pytest

from stages.core.artifacts import MemoryStore
from stages.core.types import Audio
from stages.evaluation import phone_errors as module
from stages.evaluation.phone_errors import folded, hear_phones, heard_phones, phone_errors


def test_exact_values():
    found = phone_errors(
        [["pau", "hh", "ax", "l", "ow", "pau"], ["k", "ae", "t"]], [["hh", "ah", "ow", "ow"], ["k", "ae", "t", "s"]]
    )
    assert found.phones == 7 and (found.substituted, found.deleted, found.inserted) == (1, 0, 1)
    assert found.rate == pytest.approx(2 / 7)
    (worst,) = found.by_phone
    assert (worst.phone, worst.said, worst.wrong, worst.heard) == ("l", 1, 1, (("ow", 1),)) and worst.rate == 1.0


def test_equal_to_jiwer():
    rng, phones = np.random.default_rng(0), ["aa", "b", "k", "s", "t"]
    wanted, heard = ([list(rng.choice(phones, 12)) for _ in range(10)] for _ in range(2))
    assert phone_errors(wanted, heard).rate == jiwer.wer([" ".join(w) for w in wanted], [" ".join(h) for h in heard])


def test_worst_first_and_nothing_heard():
    found = phone_errors([["t", "aa", "t"], ["s"]], [[], ["s"]])
    assert [(e.phone, e.wrong, e.heard) for e in found.by_phone] == [("t", 2, (("", 2),)), ("aa", 1, (("", 1),))]
    assert found.rate == 0.75


def test_folding():
    assert folded(["pau", "AX", "Ah", "t", "pau"]) == ("ah", "ah", "t")


@pytest.mark.parametrize(("wanted", "heard"), [([["pau"]], [["t"]]), ([], []), ([["t"]], [])])
def test_references_without_phones_are_refused(wanted, heard):
    with pytest.raises(ValueError, match="every item needs the phones"):
        phone_errors(wanted, heard)


def test_kept_by_sound(monkeypatch, speech):
    heard = []
    monkeypatch.setattr(module, "hear_phones", lambda data: heard.append(data) or ("t", "aa"))
    store, done = MemoryStore(), []
    clips = [Audio(speech, 16000), None, Audio(speech, 16000), Audio(np.zeros(9, np.float32), 16000)]
    for _ in range(2):
        assert heard_phones(clips, store=store, advance=done.append) == [("t", "aa"), (), ("t", "aa"), ()]
    assert len(heard) == 1 and sum(done) == 8


@pytest.mark.slow
def test_the_loop_hears_the_same_whatever_it_heard_before():
    from stages.core.hearing import pcm
    from stages.core.voices import load_voice

    one, other = (pcm(load_voice(name).clip) for name in ("rms", "slt"))
    first = hear_phones(one)
    assert len(first) > 15 and set(first) <= set(module.FOLD.values()) | set(
        "aa ae ah ao aw ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh uw v w y z zh".split()
    )
    hear_phones(other)
    assert hear_phones(one) == first
