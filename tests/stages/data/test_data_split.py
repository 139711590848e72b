import random

import pytest

from stages.core.config import ConfigError, build
from stages.data.split import TRAIN, VALID, SplitConfig, split, split_of

CORPUS = [(f"{name}-{n:04d}", name) for name, size in (("a", 900), ("b", 120), ("c", 49), ("d", 2), ("e", 1))
          for n in range(size)]  # fmt: skip


def placed(corpus, **config):
    return dict(zip(corpus, split(corpus, SplitConfig(**config)), strict=True))


def test_every_speaker_trains_and_those_with_enough_validate():
    found = placed(CORPUS, share=0.01)
    for name, least in (("a", 1), ("b", 1), ("c", 0), ("d", 0), ("e", 0)):
        own = [place for (_, speaker), place in found.items() if speaker == name]
        assert TRAIN in own and own.count(VALID) >= least, name
    assert 0.004 < list(found.values()).count(VALID) / len(found) < 0.03


def test_the_order_does_not_matter_and_the_seed_does():
    mixed = random.Random(0).sample(CORPUS, len(CORPUS))
    assert placed(mixed) == placed(CORPUS)
    assert placed(CORPUS, seed=1) != placed(CORPUS)


def test_a_larger_corpus_moves_only_what_was_put_by_rule():
    small = [u for n, u in enumerate(CORPUS) if n % 2 == 0]
    before, after = placed(small, share=0.02), placed(CORPUS, share=0.02)
    moved = [u for u in small if before[u] != after[u]]
    assert all(before[u] != split_of(*u, share=0.02) for u in moved) and len(moved) <= 3


def test_names_that_join_to_the_same_are_not_the_same():
    draws = [(split_of("b" + str(n), "a", 0.5), split_of(str(n), "ab", 0.5)) for n in range(64)]
    assert any(x != y for x, y in draws)


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_small_corpora_have_both_parts(size):
    out = split([(str(n), "x") for n in range(size)], SplitConfig())
    assert TRAIN in out and out.count(VALID) == (size > 1)
    assert VALID in split([(str(n), f"speaker {n}") for n in range(max(size, 2))], SplitConfig())
    assert VALID not in split([(str(n), "x") for n in range(size)], SplitConfig(share=0.0))
    assert split([], SplitConfig()) == []


def test_a_share_of_almost_all_leaves_something_to_train():
    assert split([(str(n), "x") for n in range(5)], SplitConfig(share=0.999999)).count(TRAIN) == 1


def test_speakers_can_be_held_out():
    found = placed(CORPUS, speakers=("c",))
    assert {place for (_, speaker), place in found.items() if speaker == "c"} == {VALID}
    assert found == {u: VALID if u[1] == "c" else place for u, place in placed(CORPUS).items()}


@pytest.mark.parametrize(
    ("speakers", "said"), [(("bb",), "no speaker 'bb'; did you mean 'b'?"), (tuple("abcde"), "every speaker")]
)
def test_wrong_speakers_are_told(speakers, said):
    with pytest.raises(ConfigError, match="split.speakers") as caught:
        split(CORPUS, SplitConfig(speakers=speakers))
    assert said in str(caught.value)


@pytest.mark.parametrize("share", [-0.1, 1.0, 2])
def test_wrong_shares_are_told(share):
    with pytest.raises(ConfigError, match="share is"):
        build(SplitConfig, {"share": share}, "split")
