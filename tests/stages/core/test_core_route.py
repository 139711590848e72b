"""Strict configuration and routes: every mistake is one sentence that names the near miss or the mend."""

import json

import pytest

from stages.core import route
from stages.core.checkpoint import ROOT, CheckpointError
from stages.core.config import ConfigError, parse_set, read_yaml
from stages.core.pipeline import Pipeline
from stages.core.route import check_chain, check_checkpoints, load_route


def test_defaults_preset_and_sets_are_laid_over_each_other(world):
    loaded = load_route("tortoise", "ultra_fast", ["diffusion.steps=3", "cache.dir=elsewhere", "pauses.sentence=0.1"])
    configs = {n.spec.name: n.config for n in loaded.nodes}
    assert (configs["autoregressive"].candidates, configs["diffusion"].steps) == (2, 3)
    assert loaded.cache.dir == "elsewhere" and loaded.pauses.sentence == 0.1 and loaded.pauses.paragraph == 0.5
    assert load_route().preset == "fast" and load_route().nodes[1].config.candidates == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tortose",), "unknown pipeline 'tortose'; did you mean 'tortoise'"),
        (("fastpitch",), "'fastpitch' is not there yet"),
        (("tortoise", "fats"), "unknown preset 'fats'; did you mean 'fast'"),
        (("tortoise", None, ["difusion.steps=3"]), "unknown stage 'difusion'; did you mean 'diffusion'"),
        (("tortoise", None, ["diffusion.stps=3"]), "unknown key 'stps'; did you mean 'steps'"),
        (("tortoise", None, ["diffusion.steps=many"]), "diffusion.steps: expected int, got 'many'"),
        (("tortoise", None, ["diffusion=3"]), "diffusion: expected a mapping"),
        (("tortoise", None, ["diffusion.steps"]), "write it as stage.key=value"),
        (("tortoise", None, ["stages=[text]"]), "unknown stage 'stages'"),
        (("tortoise", None, ["cache.dr=x"]), "unknown key 'dr'; did you mean 'dir'"),
        (("tortoise", None, ["pauses.sentence=-1"]), "give 0 to 60 seconds"),
        (("tortoise", None, ["shard=-1"]), "shard is -1; give 0 or more"),
        (("tortoise", None, ["device=gpu"]), "device is 'gpu'; give cpu, cuda"),
        (("tortoise", None, ["slots=0"]), "slots is 0; give 1 or more"),
        (("tortoise", None, ["autoregressive.candidates=0"]), "candidates is 0; give 1 or more"),
        (("no/such.yaml",), "no such configuration file"),
    ],
)
def test_mistake_is_one_sentence(world, arguments, message):
    with pytest.raises(ConfigError) as caught:
        load_route(*arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "stages: [text, rerank]\npreset: a\npresets: {a: {}}",
            "stage 'rerank' needs Candidates, but those before it give",
        ),
        ("stages: [text]\npreset: a\npresets: {a: {}}", "the last stage 'text' gives Phonemes, not Audio"),
        ("stages: [txt]\npreset: a\npresets: {a: {}}", "unknown stage 'txt'; did you mean 'text'"),
        ("stages: [text, text]\npreset: a\npresets: {a: {}}", "names one stage twice"),
        ("stages: text", "stages must be a list"),
        ("stages: [text]\npreset: a\npresets: {a: {}}\ntxet: {}", "unknown key 'txet'; did you mean 'text'"),
        ("stages: [text]\npreset: a\npresets: {a: {rerank: {}}}", "presets.a: unknown stage 'rerank'"),
        ("stages: [", "cannot be read as YAML"),
    ],
)
def test_route_that_does_not_fit_is_refused(world, text, message):
    (world / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=None) as caught:
        load_route("mine.yaml")
    assert message in str(caught.value)


def test_resolved_route_loads_to_the_same(world):
    import yaml

    first = load_route("tortoise", None, ["diffusion.steps=3"])
    (world / "tortoise.yaml").write_text(yaml.safe_dump(first.plain()))
    assert load_route("tortoise.yaml") == first
    check_chain(first)


def test_key_config_reads_files_by_content_and_leaves_out_what_is_free(world):
    (world / "lexicon.txt").write_text("hello hh ax l ow")
    loaded = load_route("tortoise", None, ["text.lexicon=lexicon.txt"])
    (world / "copy.txt").write_text("hello hh ax l ow")
    assert loaded.nodes[0].key_config == load_route("tortoise", None, ["text.lexicon=copy.txt"]).nodes[0].key_config
    assert "candidates" not in loaded.nodes[1].key_config
    with pytest.raises(ConfigError, match=r"text.lexicon: none.txt cannot be read"):
        _ = load_route("tortoise", None, ["text.lexicon=none.txt"]).nodes[0].key_config


def test_checkpoints_must_agree(world, monkeypatch):
    loaded = load_route()
    for number, node in enumerate(loaded.nodes):
        folder = world / f"weights{number}"
        folder.mkdir()
        (folder / "meta.json").write_text(json.dumps({"codebook": "one" if number < 4 else "two"}))
        node.__dict__["checkpoints"] = {"checkpoint": str(folder)}
    with pytest.raises(CheckpointError, match=r"weights4: its codebook \(two\) is not that of .*weights0 \(one\)"):
        check_checkpoints(loaded)
    (world / "weights0" / "meta.json").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint there"):
        Pipeline(loaded)


def test_shipped_route_has_the_presets():
    shipped = read_yaml(ROOT / "configs" / "synthesize" / "tortoise.yaml")
    assert shipped["preset"] == "fast" and list(shipped["presets"]) == [
        "ultra_fast",
        "fast",
        "standard",
        "high_quality",
    ]
    assert all(stage in route.STAGES for stage in shipped["stages"])
    assert all(stage in shipped["stages"] for preset in shipped["presets"].values() for stage in preset)


def test_set_values_are_yaml():
    assert parse_set(["a.b=[1, x]", "a.c=null", "d=1e-4"]) == {"a": {"b": [1, "x"], "c": None}, "d": "1e-4"}
