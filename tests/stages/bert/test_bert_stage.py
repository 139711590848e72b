"""The bert stage: vectors as in training, errors in one sentence; and the vits route with and without it."""

import shutil

import numpy as np
import pytest
import tinybert
import tinyvits
import torch

from stages.bert.config import SPEC, BertConfig
from stages.bert.stage import BertStage
from stages.core import codecs
from stages.core.artifacts import ArtifactStore
from stages.core.config import ConfigError
from stages.core.pipeline import Pipeline
from stages.core.route import load_route
from stages.core.types import Phonemes, Word, WordVectors
from stages.core.voices import load_voice
from stages.nn.words import WordEncoder, model_digest


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tinybert.write(tmp_path_factory.mktemp("bert"))


def phonemes(*words):
    symbols = ("pau", *(p for word in words for p in word.phones), "pau")
    return Phonemes("t", words, symbols)


THE, HARBOR = Word("the", ("dh", "ax")), Word("harbor", ("hh", "aa", "r", "b", "er"))


def test_each_phone_has_the_vector_of_its_word(encoder):
    stage = BertStage.load(BertConfig(str(encoder)), "cpu")
    items = [{Phonemes: p} for p in (phonemes(THE, HARBOR), phonemes(HARBOR), phonemes(Word("cat", ("k", "ae", "t"))))]
    together = stage.run(items, seeds=[0, 0, 0])
    for item, found in zip(items, together, strict=True):
        alone = stage.run([item], seeds=[0])[0]
        assert np.array_equal(alone.vectors, found.vectors)
        assert found.vectors.shape == (len(item[Phonemes].symbols), 16) and found.vectors.dtype == np.float32
        assert found.model == model_digest(encoder)
    words = WordEncoder(encoder)(["the", "harbor"])
    assert np.array_equal(together[0].vectors, words[[0, 1, 1, 2, 2, 2, 2, 2, 2]])
    kept = codecs.decode(WordVectors, *codecs.encode(together[0]))
    assert np.array_equal(kept.vectors, together[0].vectors) and kept.model == together[0].model


def test_what_it_cannot_read_is_the_items_fault(encoder):
    stage = BertStage.load(BertConfig(str(encoder)), "cpu")
    with pytest.raises(ValueError, match="more pieces than the 80"):
        stage.run([{Phonemes: phonemes(*[HARBOR] * 90)}], seeds=[0])
    with pytest.raises(ValueError, match="has nothing for ' '"):
        stage.run([{Phonemes: phonemes(Word(" ", ("ax",)))}], seeds=[0])


def test_weights_that_are_not_all_there_are_refused(encoder, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(encoder, tmp_path / "part")
    tensors = load_file(tmp_path / "part" / "model.safetensors")
    gone = next(name for name in tensors if "attention" in name)
    del tensors[gone]
    state = torch.get_rng_state()
    save_file({k: v for k, v in tensors.items() if "pooler" not in k}, tmp_path / "part" / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    with pytest.raises(ConfigError, match="has no .*attention.* name a whole transformers encoder"):
        WordEncoder(tmp_path / "part")
    assert torch.equal(torch.get_rng_state(), state)


def test_the_encoder_enters_the_key_by_content(encoder, tmp_path):
    shutil.copytree(encoder, tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("a note")
    here, there = (SPEC.content(BertConfig(str(folder))) for folder in (encoder, tmp_path / "copy"))
    assert here == there != SPEC.content(BertConfig(str(tinybert.write(tmp_path / "other", seed=1))))
    with pytest.raises(ConfigError, match="'' is no folder; name the folder of a transformers encoder"):
        SPEC.content(BertConfig())


STEADY = ("vits.noise_scale=0", "vits.noise_scale_w=0")


def speak(tmp_path, stages, checkpoint, *sets):
    """The pipeline's report and the sound of a sentence."""
    file = tmp_path / "own.yaml"
    file.write_text(
        f"stages: [{', '.join(stages)}]\npreset: a\npresets: {{a: {{}}}}\ncache: {{dir: {tmp_path}/cache}}\n"
    )
    route = load_route(str(file), None, [f"vits.checkpoint={checkpoint}", *sets])
    pipeline = Pipeline(route)
    document = pipeline.document("The harbor was quiet.", load_voice("slt"), 1)
    store = ArtifactStore(route.cache.dir)
    pipeline.compute([document], store)
    result = pipeline.result(document, store)
    assert result.error is None, result.error
    return {name for name, calls in pipeline.report.stage_calls.items() if calls}, result.audio.samples


def test_the_route_hears_words_and_stress_where_stages_give_them(encoder, tmp_path):
    hears = tinyvits.write(tmp_path / "hears", meta={"bert": model_digest(encoder)}, bert=16, tones=4)
    stages, given = ["text", "stress", "bert", "vits"], f"bert.model={encoder}"
    ran, sound = speak(tmp_path, stages, hears, given)
    assert ran == set(stages)
    ran, again = speak(tmp_path, stages, hears, given)
    assert ran == set() and np.array_equal(sound, again)
    shutil.copytree(encoder, tmp_path / "copy")
    assert speak(tmp_path, stages, hears, f"bert.model={tmp_path / 'copy'}")[0] == set()
    other = tinybert.write(tmp_path / "other", seed=1)
    elsewhere = tinyvits.write(tmp_path / "elsewhere", meta={"bert": model_digest(other)}, bert=16, tones=4)
    ran, heard = speak(tmp_path, stages, elsewhere, f"bert.model={other}")
    assert ran == {"bert", "vits"} and not np.array_equal(sound, heard)
    plain = tinyvits.write(tmp_path / "plain")
    ran, bare = speak(tmp_path, ["text", "vits"], plain, *STEADY)
    assert ran == {"vits"}  # the phones are those of before
    ran, deaf = speak(tmp_path, ["text", "stress", "vits"], plain, *STEADY)
    assert ran == {"vits"} and np.array_equal(bare, deaf)  # a checkpoint without tones does not hear them
    with pytest.raises(ConfigError, match="put stage bert before vits"):
        speak(tmp_path, ["text", "stress", "vits"], hears)
    with pytest.raises(ConfigError, match="leave stage bert out"):
        speak(tmp_path, ["text", "bert", "vits"], plain, given)


def test_a_checkpoint_says_which_encoder_it_was_trained_with(encoder, tiny_objective):
    objective = tiny_objective("vits", "network.bert=16", f"objective.bert={encoder}")
    batch = objective.batch(0)
    assert objective.meta()["bert"] == model_digest(encoder)
    assert batch["bert"].shape == (*batch["symbols"].shape, 16) and batch["bert"].abs().sum(2).gt(0).any(1).all()
