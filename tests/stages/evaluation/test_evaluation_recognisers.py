"""Recognisers by name: what is missing is named, nothing is fetched, and a local model listens."""

import importlib.metadata
import json
import pickle

import numpy as np
import pytest

from stages.core.config import ConfigError
from stages.core.types import Audio
from stages.evaluation import recognisers, similarity
from stages.evaluation.intelligibility import transcribe
from stages.evaluation.recognisers import recogniser


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(similarity.importlib.metadata, "version", lambda name: "1")


def test_the_embedded_one_is_there():
    assert recogniser("pocketsphinx").name == "pocketsphinx"


@pytest.mark.parametrize("name", ["wisper:/tmp", "pocketsphinx:/tmp", "google", ""])
def test_unknown_names_are_refused(name):
    with pytest.raises(ConfigError, match="unknown recogniser"):
        recogniser(name)


def test_missing_files_are_named(tmp_path, installed):
    with pytest.raises(ConfigError, match=r"'whisper:': \(no folder\) holds no config.json"):
        recogniser("whisper:")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match="holds no model.safetensors"):
        recogniser(f"wav2vec2:{tmp_path}")


def test_missing_package_is_named(tmp_path, monkeypatch):
    def gone(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(similarity.importlib.metadata, "version", gone)
    with pytest.raises(ConfigError, match=f"'whisper:{tmp_path}' needs the package transformers"):
        recogniser(f"whisper:{tmp_path}")


def test_workers_can_have_it_and_weights_are_in_its_version(tmp_path, installed):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"one")
    found = recogniser(f"whisper:{tmp_path}")
    before = found.version()
    copy = pickle.loads(pickle.dumps(found))
    assert (copy.name, copy.version(), copy.hear.args) == (found.name, before, found.hear.args)
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert recogniser(f"whisper:{tmp_path}").version() != before


@pytest.mark.slow
def test_wav2vec2_from_a_local_folder(tmp_path):
    """Structure only: a tiny model with random weights hears something made of its letters, or nothing."""
    transformers = pytest.importorskip("transformers")
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", "A", "B"]
    (tmp_path / "vocab.json").write_text(json.dumps({letter: n for n, letter in enumerate(letters)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"))
    transformers.Wav2Vec2Processor(transformers.Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(tmp_path)
    config = transformers.Wav2Vec2Config(
        vocab_size=7, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8), conv_stride=(5, 4), conv_kernel=(10, 8), num_feat_extract_layers=2,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    transformers.Wav2Vec2ForCTC(config).save_pretrained(tmp_path)
    noise = Audio(np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32), 16000)
    by = recogniser(f"wav2vec2:{tmp_path}")
    first = transcribe([noise, None], by)
    assert first == transcribe([noise, None], by) and set(first[0]) <= set("ab <unk>") and first[1] == ""


@pytest.mark.slow
def test_a_folder_that_is_no_model_is_named(tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    by = recogniser(f"whisper:{tmp_path}")
    with pytest.raises(ConfigError, match="cannot be loaded as a WhisperForConditionalGeneration"):
        by.hear(b"\0\0" * 1600)
    assert recognisers.LOCAL.keys() == {"whisper", "wav2vec2"}
