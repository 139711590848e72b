"""Checkpoints in the layout of transformers' VitsModel: the same waveform, the same reading, and what is refused."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager

import pytest
import theirvits
import torch
from safetensors.torch import load_file, save_file

from stages.core import checkpoint
from stages.core.checkpoint import CheckpointError
from stages.core.seeding import generator
from stages.core.stage import NothingToSay
from stages.core.types import Phonemes, Word
from stages.vits import tokens
from stages.vits.blocks import fold_weight_norm
from stages.vits.huggingface import convert
from stages.vits.model import Controls, Vits, VitsModelConfig
from stages.vits.text_encoder import TextInput
from stages.vits.tokens import Reads, ids_for, read


@contextmanager
def drawn_from(draws, monkeypatch):
    """Whatever transformers draws comes from one CPU generator, as ours does."""
    real = torch.randn
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randn", lambda *size, **_: real(*size, generator=draws))
        patch.setattr(torch, "randn_like", lambda x, **_: real(x.shape, generator=draws))
        yield


def ours(folder):
    found = checkpoint.read(folder, "vits")
    model = Vits(checkpoint.model_config(found, VitsModelConfig))
    checkpoint.load_strict(model, found)
    fold_weight_norm(model)
    return model.eval(), found.meta


@pytest.mark.parametrize(
    ("changes", "speaker"),
    [
        ({}, None),
        ({"use_stochastic_duration_prediction": False}, None),
        ({"num_speakers": 3, "speaker_embedding_size": 8}, 2),
        ({"num_speakers": 3, "speaker_embedding_size": 8, "use_stochastic_duration_prediction": False}, 1),
        ({"speaker_embedding_size": 8, "use_bias": False, "ffn_kernel_size": 4}, None),
    ],
)
@torch.inference_mode()
def test_the_waveform_is_that_of_transformers(tmp_path, monkeypatch, changes, speaker):
    with torch.inference_mode(False):
        theirs = theirvits.write(tmp_path / "in", **changes)
    convert(tmp_path / "in", tmp_path / "out", "CC-BY-NC 4.0")
    model, meta = ours(tmp_path / "out")
    assert meta["licence"] == "CC-BY-NC 4.0" and meta["defaults"]["noise_scale_w"] == 0.8
    draws = torch.Generator().manual_seed(1)
    for length, speed in ((1, 1.0), (2, 1.0), (9, 0.7), (40, 1.3)):
        ids = torch.randint(0, 30, (1, length), generator=draws)
        with drawn_from(generator(7), monkeypatch):
            wanted = theirs(ids, speaker_id=speaker, speaking_rate=speed).waveform[0]
        who = None if speaker is None else torch.tensor([speaker])
        text, controls = TextInput(ids, torch.tensor([length])), Controls(speed=speed)
        found = model.synthesise(text, who, None, controls, generator(7))[0]
        assert found.shape == wanted.shape and len(wanted) >= 8 * length
        assert 0.01 < wanted.abs().max() < 0.999 and (found - wanted).abs().max() < 1e-4


def test_both_stored_forms_of_weight_norm_and_a_weight_of_zeros(tmp_path):
    theirvits.write(tmp_path / "in")
    path = tmp_path / "in" / "model.safetensors"
    stored = load_file(path)
    stored["decoder.upsampler.0.weight"][2] = 0  # plain there, normed here: its direction is nobody's
    save_file(stored, path)
    convert(tmp_path / "in", tmp_path / "new")
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in stored.items()
    }
    assert old.keys() != stored.keys()
    save_file(old, path)
    convert(tmp_path / "in", tmp_path / "old")
    one, other = (checkpoint.read(tmp_path / name).tensors for name in ("new", "old"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    up = ours(tmp_path / "new")[0].decoder.generator.ups[0].weight
    assert (up - stored["decoder.upsampler.0.weight"]).abs().max() < 1e-6 and (up[2] == 0).all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder, for tests that copy what they change."""
    place = tmp_path_factory.mktemp("huggingface") / "in"
    theirvits.write(place)
    return place


def refused(folder, tmp_path, changed, message):
    """Converts the files of `folder` with `changed` (name -> bytes, None to leave one out) in place of them."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    for name, data in changed.items():
        (copy / name).unlink() if data is None else (copy / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as caught:
        convert(copy, tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "bert"}, "model_type is 'bert'; give one of 'vits'"),
        ({"leaky_relu_slope": 0.2}, "leaky_relu_slope is 0.2, and only 0.1 is built here"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', and only 'relu'"),
        ({"hidden_size": 10**9}, "hidden_size is 1000000000; it must be 1 to"),
        ({"hidden_size": "16"}, "hidden_size: expected int, got '16'"),
        ({"num_attention_heads": 3}, "3 heads do not divide"),
        ({"wavenet_kernel_size": 4}, "wavenet_kernel_size is 4; it must be odd"),
        ({"upsample_rates": [4]}, "must have as many entries"),
        ({"num_speakers": 4}, "speaker_embedding_size is 0"),
        ({"duration_predictor_num_flows": 1}, "flows is 1; give 2 or more"),
        (
            {"ffn_dim": 32},
            r"feed_forward.conv_1.weight: of size \(24, 16, 3\), where config.json asks for \(32, 16, 3\)",
        ),
        ({"num_hidden_layers": 4000}, "num_hidden_layers is 4000; it must be 1 to 256"),
        (
            {"num_hidden_layers": 3},
            "no 'text_encoder.encoder.layers.2.attention.emb_rel_k', which config.json asks for",
        ),
        ({"num_hidden_layers": 1}, "layers.1.* and 13 more: not a part of the model that config.json describes"),
        ({"vocab_size": 20}, "'s' has row 20; rows are 0 to 19"),
    ],
)
def test_an_architecture_that_is_not_built_here_is_refused(folder, tmp_path, values, message):
    config = json.loads((folder / "config.json").read_text()) | values
    refused(folder, tmp_path, {"config.json": json.dumps(config).encode()}, message)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"config.json": None}, "config.json: is not there; give a folder with"),
        ({"config.json": b"[1]"}, "must hold a JSON object"),
        ({"model.safetensors": b"torn"}, "model.safetensors: cannot be read"),
        ({"model.safetensors": None}, "has no model.safetensors; save the model with transformers"),
        (
            {"model.safetensors": None, "pytorch_model.bin": b"x"},
            "pytorch_model.bin is a pickle, which is never loaded",
        ),
        ({"tokenizer_config.json": None}, "tokenizer_config.json: is not there"),
        ({"tokenizer_config.json": b'{"tokenizer_class": "BertTokenizer"}'}, "is of a BertTokenizer"),
        ({"vocab.json": b'{"a": 0, "b": 0}'}, "two symbols have the same row"),
        ({"vocab.json": b'{"a": true}'}, "'a' has row True"),
    ],
)
def test_a_folder_that_cannot_be_read_is_refused(folder, tmp_path, changed, message):
    refused(folder, tmp_path, changed, message)


def test_damaged_weights_are_named(folder, tmp_path):
    stored = load_file(folder / "model.safetensors")
    stored["decoder.conv_pre.bias"][0] = torch.inf
    save_file(stored, tmp_path / "weights")
    refused(folder, tmp_path, {"model.safetensors": (tmp_path / "weights").read_bytes()}, "conv_pre.bias.*not finite")
    del stored["flow.flows.0.wavenet.in_layers.0.parametrizations.weight.original0"]
    save_file(stored, tmp_path / "weights")
    (tmp_path / "second").mkdir()
    changed = {"model.safetensors": (tmp_path / "weights").read_bytes()}
    refused(folder, tmp_path / "second", changed, "original1' is half of a weight norm")


def test_what_stands_in_the_way_is_not_written_over(folder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="is there already"):
        convert(folder, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


SENTENCES = ["Like kite", "kk", "k", "Hi!  you", "a<unk>b", "  ab ", "a\nb", "ÀB k - 3", "it's", "ZÜRICH 'k'"]


@pytest.mark.parametrize(
    "says",
    [
        {},
        {"add_blank": False},
        {"pad_token": "k", "unk_token": "<unk>"},
        {"pad_token": "'", "unk_token": "k", "add_blank": False},
        {"normalize": False, "unk_token": "<unk>", "pad_token": "k"},
        {"language": "ron"},
    ],
)
def test_text_is_read_as_by_the_tokenizer_of_transformers(folder, tmp_path, says):
    from transformers import VitsTokenizer

    says = {"language": "eng", "phonemize": False, **says}
    theirs = VitsTokenizer(folder / "vocab.json", **says)
    refolder = tmp_path / "in"
    theirs.save_pretrained(refolder)
    for name in ("config.json", "model.safetensors"):
        (refolder / name).write_bytes((folder / name).read_bytes())
    convert(refolder, tmp_path / "out")
    reads, names = tokens.rules(checkpoint.read_meta(tmp_path / "out"))
    for sentence in SENTENCES:
        assert list(read(sentence, reads, names).ids) == theirs(sentence)["input_ids"], sentence
    assert read("No. 3 <b", reads, names).unread == ((".", "3", "<") if reads.normalise else ("N", ".", "3", "<"))


def phonemes(text, *words):
    return Phonemes(text, tuple(Word(word, ("ax",)) for word in words), ("pau", "ax", "pau"))


def test_what_is_not_read_is_told_once(caplog):
    tokens._tell.cache_clear()
    meta = {"names": {"symbols": list("_abcdefghijklmnopqrstuvwxyz ")}, "reads": {"language": "fra"}}
    with caplog.at_level(logging.WARNING, "caretta.vits"):
        assert ids_for(phonemes("Ça!"), meta) == [0, 1, 0] == ids_for(phonemes("ça"), meta)
    assert [record.getMessage() for record in caplog.records] == [
        r"'\xe7' is not read: the checkpoint for 'fra' has no symbol for it",
        "'!' is not read: the checkpoint for 'fra' has no symbol for it",
    ]
    three = phonemes("3 ab.", "three", "ab")
    assert ids_for(three, meta | {"reads": {"add_blank": False}}) == [1, 2]
    spoken = ids_for(three, meta | {"reads": {"add_blank": False, "language": "eng"}})
    assert spoken == [20, 8, 18, 5, 5, 27, 1, 2]
    assert ids_for(three, {}) == [1, 7, 1]  # our own phones


def test_what_needs_another_program_is_refused():
    names = list("_ab")
    with pytest.raises(CheckpointError, match="reads phonemes of espeak"):
        read("ab", Reads("phonemes"), names)
    with pytest.raises(CheckpointError, match="romanise the text with the program uroman first"):
        read("аб", Reads(romanise=True), names)
    assert read("ab", Reads(romanise=True), names).ids == (0, 1, 0, 2, 0)
    with pytest.raises(NothingToSay, match=r"nothing to say in '\?\?'"):
        read("??", Reads(), names)
    with pytest.raises(CheckpointError, match="no symbol for 'x' and none for the unknown"):
        read("ax", Reads(normalise=False), names)
    with pytest.raises(CheckpointError, match="does not say what it reads"):
        ids_for(phonemes("a"), {"reads": {"units": "characters"}, "names": {"symbols": ["a"]}})
