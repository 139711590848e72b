"""Batches are a function of seed and step; nothing is dropped; alignment moves forward only."""

import threading

import numpy as np
import pytest

from stages.core.config import ConfigError
from stages.data.batching import Ahead, Crops, LengthBuckets, crop, frame_phones, held_out, is_validation, pad, padding
from stages.data.codes import pointers, read_codes

LENGTHS = np.random.default_rng(0).integers(5, 200, 137)


def test_buckets_hold_every_item_once_an_epoch_within_the_budget():
    buckets = LengthBuckets(LENGTHS, 600, seed=1)
    steps, seen = 0, []
    while len(seen) < len(LENGTHS):
        batch = buckets.batch(steps)
        assert LENGTHS[batch].max() * len(batch) <= 600
        seen += batch.tolist()
        steps += 1
    assert sorted(seen) == list(range(len(LENGTHS)))
    second = [i for s in range(steps, 2 * steps) for i in buckets.batch(s)]
    assert len(set(second)) > 0.9 * len(LENGTHS) and second != seen  # another order


def test_buckets_depend_on_seed_and_step_alone():
    a, b = LengthBuckets(LENGTHS, 600, 1), LengthBuckets(LENGTHS, 600, 1)
    for step in (50, 3, 120, 0, 50):  # any order
        assert np.array_equal(a.batch(step), b.batch(step))
    assert not all(np.array_equal(a.batch(s), LengthBuckets(LENGTHS, 600, 2).batch(s)) for s in range(5))


def test_item_beyond_the_budget_is_a_batch_of_its_own():
    found = [LengthBuckets(np.array([3, 900, 4]), 10, 0).batch(s).tolist() for s in range(2)]
    assert [1] in found and sorted(sum(found, [])) == [0, 1, 2]


def test_waste_is_what_padding_adds():
    buckets = LengthBuckets(LENGTHS, 2000, 1)
    padded = [buckets.batch(s) for s in range(len(buckets._batches))]
    total = sum(len(b) * LENGTHS[b].max() for b in padded)
    assert buckets.waste() == pytest.approx(1 - LENGTHS.sum() / total)
    assert buckets.waste(LENGTHS - 4, np.full(len(LENGTHS), 4)) == pytest.approx(buckets.waste())
    assert padding([np.zeros(3), np.zeros(1)], [np.zeros(2), np.zeros(2)]) == pytest.approx(1 - 8 / 10)


def test_a_corpus_of_many_lengths_wastes_under_a_tenth():
    """The bar, at lengths as spread as the starter corpus's."""
    lengths = np.random.default_rng(3).gamma(9, 12, 5000).astype(int) + 20
    buckets = LengthBuckets(lengths, 3000, 1)
    assert buckets.waste() < 0.1 and sorted(np.concatenate(buckets._batches)) == list(range(5000))


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_batches_ahead_come_in_their_order_and_nothing_is_built_in_vain(depth):
    built = []

    def build(number):
        built.append(number)
        return number * number

    with Ahead(build, (n for n in (3, 1, 4, 1, 5)), depth) as batches:
        first = next(batches)
        assert first == (3, 9) and list(batches) == [(1, 1), (4, 16), (1, 1), (5, 25)]
    assert built == [3, 1, 4, 1, 5]
    with Ahead(build, range(1000), depth) as batches:
        next(batches)
    assert len(built) <= 5 + 1 + depth + 1


def test_a_batch_that_cannot_be_built_says_so_when_it_is_asked_for():
    def build(number):
        if number == 2:
            raise ValueError("item 2 is broken")
        return number

    with Ahead(build, range(9), 4) as batches:
        assert [next(batches)[1] for _ in range(2)] == [0, 1]
        with pytest.raises(ValueError, match="item 2 is broken"):
            next(batches)


def test_batches_are_built_before_they_are_asked_for():
    built = [threading.Event() for _ in range(9)]
    with Ahead(lambda n: built[n].set(), range(9), 2) as batches:
        for number in range(7):
            assert next(batches)[0] == number
            assert built[number + 1].wait(30) and built[number + 2].wait(30)  # nobody asks for them yet


def test_crops_depend_on_seed_and_step_alone_and_keep_to_the_speaker(tiny_corpus):
    rows = np.arange(len(tiny_corpus))
    weights = np.ones(len(tiny_corpus))
    crops = [Crops(tiny_corpus.frame_start, tiny_corpus.speaker_of, rows, weights, s) for s in (1, 1, 2)]
    a, b, c = (x.batch(7, 32) for x in crops)
    assert np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) and a[2].random() == b[2].random()
    assert not np.array_equal(a[0], c[0])
    assert np.array_equal(tiny_corpus.speaker_of[a[0]], tiny_corpus.speaker_of[a[1]])


def test_crop_pads_after_the_end_and_says_where_it_starts():
    rng, frames = np.random.default_rng(0), np.arange(20, dtype=np.float16).reshape(10, 2)
    out, start = crop(frames, 14, rng, -1.0)
    assert start == 0 and out.shape == (14, 2) and (out[10:] == -1).all() and (out[:10] == frames).all()
    out, start = crop(frames, 4, rng, -1.0)
    assert np.array_equal(out, frames[start : start + 4])


@pytest.mark.parametrize("most", [1, 3])
def test_pointers_go_forward_by_at_most_so_many(tiny_corpus, most):
    for i in range(len(tiny_corpus)):
        place = pointers(tiny_corpus, i, 2, most)
        span = tiny_corpus.phones_of(i)
        assert place[0] == 0 and ((np.diff(place) >= 0) & (np.diff(place) <= most)).all()
        assert len(place) == -(-tiny_corpus.lengths[i] // 2) and place[-1] < span.stop - span.start
        if most == 3:
            assert place[-1] == span.stop - span.start - 1


def test_frame_phones_follow_the_timings(tiny_corpus):
    phones = frame_phones(tiny_corpus, 0, 2)
    assert phones[0] == phones[-1] == 1 and len(phones) == -(-tiny_corpus.lengths[0] // 2)
    said = tiny_corpus.phones[tiny_corpus.phones_of(0)]
    changes = phones[np.flatnonzero(np.diff(phones, prepend=-1))]
    assert set(changes) <= set(said.tolist())


def test_codes_are_made_once_and_fit_the_frames(tiny_corpus, tiny_codes):
    a, b = read_codes(tiny_codes, tiny_corpus), read_codes(str(tiny_codes), tiny_corpus)
    assert np.array_equal(a.codes, b.codes) and a.size == 36 and a.start[-1] == len(a.codes)
    assert [len(a.of(i)) for i in range(len(tiny_corpus))] == (-(-tiny_corpus.lengths // 2)).tolist()


def test_hold_out_is_stable_and_never_empty():
    ids = [f"rms-{n:016x}" for n in range(0, 2**64, 2**56)]
    assert held_out(ids).sum() == 3 and [is_validation(i) for i in ids] == held_out(ids).tolist()
    assert held_out(["a-ffffffff", "a-fffffffe"]).tolist() == [False, True]
    assert held_out(["a-00000000", "a-00000001"]).tolist() == [False, True]
    assert 0 < sum(is_validation(f"LJ001-{n}z") for n in range(2000)) < 60  # ids that are no hex digits
    with pytest.raises(ConfigError, match="holds 1 utterances"):
        held_out(["a-0"])


def test_pad():
    assert pad([np.array([1, 2]), np.array([3])], -1).tolist() == [[1, 2], [3, -1]]
