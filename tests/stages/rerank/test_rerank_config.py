"""What `rerank.*` may say: judges as a mapping or a list, thresholds, retries; each mistake in one sentence."""

import importlib.metadata

import pytest

from stages.core.config import ConfigError, build
from stages.rerank.choose.stage import ChooseStage
from stages.rerank.config import LISTENERS, WEIGHTS, RerankConfig, followers
from stages.rerank.judges import JUDGES
from stages.rerank.listeners import LISTENERS as HEARD


def config(**values):
    return build(RerankConfig, values, "rerank")


def test_every_judge_has_a_weight_and_every_listener_is_there():
    assert set(JUDGES) | set(HEARD) == set(WEIGHTS) and set(HEARD) == set(LISTENERS) and not set(JUDGES) & set(HEARD)
    assert ChooseStage.SPEC.gathers


def test_a_list_of_judges_has_the_usual_weights_in_one_order():
    assert config(judges=["asr", "clip"]).judges == {"clip": 0.1, "asr": 50.0}
    assert list(config(judges={"asr": 1, "clip": 2}).judges.items()) == [("clip", 2.0), ("asr", 1.0)]
    assert config().judges == {"clip": 0.1, "phones": 3.0, "log_prob": 2.0, "faults": 10.0}
    assert config(judges=["asr", "clip"]) == config(judges={"clip": 0.1, "asr": 50})


def test_only_judges_of_the_sound_add_stages():
    assert followers(config()) == {} == followers(config(judges=["clip"]))
    added = followers(config(judges=["duration", "asr", "clip"], accept={"asr": 0.1}, retries=2))
    assert list(added) == ["listen", "choose"] and list(added["listen"]["judges"]) == ["asr", "duration"]
    assert added["listen"]["judges"]["asr"] == f"pocketsphinx {importlib.metadata.version('pocketsphinx')}"
    assert added["choose"] == {"judges": {"clip": 0.1, "asr": 50.0, "duration": 2.0}, "accept": {"asr": 0.1},
                               "retries": 2}  # fmt: skip


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"judges": ["asr", "clap"]}, "judges: unknown judge 'clap'; did you mean 'clip'"),
        ({"judges": {"similarty": 1}}, "unknown judge 'similarty'; did you mean 'similarity'"),
        ({"judges": []}, "must name at least one judge"),
        ({"judges": "asr"}, "must name at least one judge, for example \\[clip, asr\\]"),
        ({"judges": {"asr": "much"}}, "the weight of asr must be a number, not 'much'"),
        ({"judges": {"asr": float("nan")}}, "the weight of asr must be a number"),
        ({"judges": {"asr": True}}, "the weight of asr must be a number, not True"),
        ({"judges": ["asr"], "accept": {"asl": 0.1}}, "no threshold can be set for 'asl'; did you mean 'asr'"),
        ({"accept": {"clip": 3}}, "no threshold can be set for 'clip'; known: asr, duration, similarity"),
        (
            {"accept": {"asr": 0.1}},
            "asr has a threshold but is no judge; add it to rerank.judges, or say accept.asr=null",
        ),
        ({"judges": ["asr"], "accept": {"asr": -0.1}}, "the threshold of asr is -0.1; give 0 to 100"),
        ({"judges": ["similarity"], "accept": {"similarity": 7}}, "the threshold of similarity is 7; give -1 to 1"),
        ({"judges": ["asr"], "accept": {"asr": float("nan")}}, "the threshold of asr is nan"),
        ({"judges": ["asr"], "accept": {"asr": 0.1}, "retries": -1}, "retries is -1; give 0 or more"),
        ({"judges": ["asr"], "retries": 2}, "retries without a threshold would never be made"),
    ],
)
def test_mistakes_are_told_in_one_sentence(values, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        config(**values)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("rerank: ")


def test_a_threshold_can_be_taken_back():
    assert followers(config(judges=["asr"], accept={"asr": None}))["choose"]["accept"] == {}
    with pytest.raises(ConfigError, match="retries without a threshold"):
        config(judges=["asr"], accept={"asr": None}, retries=1)


def test_a_judge_without_its_package_is_refused(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ConfigError, match="asr needs pocketsphinx, which is not installed; run `uv sync`"):
        followers(config(judges=["asr"]))
