"""SECS tells voices apart, is kept by content, and says why a clip has none; encoders that are missing are named."""

import importlib.metadata

import numpy as np
import pytest

from stages.core.artifacts import MemoryStore
from stages.core.config import ConfigError
from stages.core.types import Audio
from stages.core.voices import load_voice
from stages.evaluation import similarity
from stages.evaluation.levels import NotMeasurable
from stages.evaluation.similarity import Embedding, baselines, embeddings, encoder, normalised, secs


class Fake:
    """The mean and the spread of the samples; counts its work."""

    name = "fake"

    def __init__(self):
        self.calls = 0

    def version(self):
        return "fake 1"

    def __call__(self, samples):
        self.calls += 1
        if samples.size < 16000:
            raise NotMeasurable("too short")
        return np.array([samples.mean(), samples.std()], np.float32) / np.hypot(samples.mean(), samples.std())


def clip(level, seconds=1.5):
    return Audio(
        np.random.default_rng(int(level * 10)).normal(level, 0.1, int(16000 * seconds)).astype(np.float32), 16000
    )


@pytest.fixture(scope="module")
def halves():
    """Embeddings of both halves of the three voices' clips."""
    out = {}
    for name in ("awb", "rms", "slt"):
        audio = load_voice(name).clip
        middle = audio.samples.size // 2
        parts = [Audio(audio.samples[:middle], 16000), Audio(audio.samples[middle:], 16000)]
        out[name] = embeddings(parts, encoder())
    return out


def test_voices_are_told_apart(halves):
    found = baselines(halves)
    assert (found.same_pairs, found.cross_pairs) == (3, 12)
    assert found.same > 0.75 > found.cross
    for name, (one, other) in halves.items():
        strangers = [e for speaker, both in halves.items() if speaker != name for e in both]
        assert secs(one, other) > max(secs(one, e) for e in strangers)
        assert normalised(secs(one, other), found.same, found.cross) > 0.5


def test_vectors_are_units(halves):
    for both in halves.values():
        assert [float(np.linalg.norm(e.vector)) for e in both] == pytest.approx([1.0, 1.0], abs=1e-5)
        assert secs(both[0], both[0]) == pytest.approx(1.0, abs=1e-6)


def test_short_or_silent_says_why():
    voice = load_voice("rms").clip.samples
    clips = [None, Audio(np.zeros(16000, np.float32), 16000), Audio(voice[8000:20000], 16000)]
    found = embeddings(clips, encoder())
    assert [e.vector for e in found] == [None] * 3
    assert found[0].reason == "no sound" and "silent" in found[1].reason and "too little to tell" in found[2].reason
    with pytest.raises(NotMeasurable, match="too little"):
        secs(found[2], found[2])


def test_kept_by_content():
    store, by = MemoryStore(), Fake()
    clips = [clip(0.1), clip(0.5), clip(0.1), clip(0.1, 0.5), None]
    first = embeddings(clips, by, store=store)
    assert by.calls == 3  # the same sound once, and the short one
    again = embeddings(clips, by, store=store)
    assert by.calls == 3
    for one, other in zip(first, again, strict=True):
        assert one.reason == other.reason
        assert np.array_equal(one.vector, other.vector) if one.vector is not None else other.vector is None
    assert first[3].reason == "too short" and first[4].reason == "no sound"


def test_normalised_and_its_bounds():
    assert normalised(0.9, 0.9, 0.5) == 1.0 and normalised(0.5, 0.9, 0.5) == 0.0
    assert normalised(0.7, 0.9, 0.5) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="above"):
        normalised(0.7, 0.5, 0.5)


def test_baselines_refuse_what_is_no_baseline():
    one, two = Embedding(np.array([1.0, 0.0])), Embedding(np.array([0.0, 1.0]))
    with pytest.raises(NotMeasurable, match="two clips of one speaker"):
        baselines({"a": [one], "b": [two]})
    with pytest.raises(NotMeasurable, match="clips of two speakers"):
        baselines({"a": [one, one], "b": [Embedding(None, "silent")]})
    with pytest.raises(NotMeasurable, match="no more alike"):
        baselines({"a": [one, two], "b": [one, two]})


def test_missing_encoders_are_named(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="did you mean 'resemblyzer'"):
        encoder("resemblizer")
    monkeypatch.setattr(similarity.importlib.metadata, "version", lambda name: "1")
    with pytest.raises(ConfigError, match="holds no config.json"):
        encoder(f"wavlm:{tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ConfigError, match="holds no model.safetensors"):
        encoder(f"wavlm:{tmp_path}")

    def gone(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(similarity.importlib.metadata, "version", gone)
    with pytest.raises(ConfigError, match="'resemblyzer' is not installed"):
        encoder()
    with pytest.raises(ConfigError, match="needs the package transformers"):
        encoder(f"wavlm:{tmp_path}")


@pytest.mark.slow
def test_wavlm_from_a_local_folder(tmp_path):
    """Structure only: a tiny model with random weights."""
    transformers = pytest.importorskip("transformers")
    config = transformers.WavLMConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
        conv_stride=(5, 4), conv_kernel=(10, 8), num_feat_extract_layers=2, tdnn_dim=(8, 8, 8, 8, 16),
        xvector_output_dim=12, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    transformers.WavLMForXVector(config).save_pretrained(tmp_path)
    by = encoder(f"wavlm:{tmp_path}")
    (found,) = embeddings([clip(0.1)], by)
    assert found.vector.shape == (12,) and np.linalg.norm(found.vector) == pytest.approx(1.0, abs=1e-5)
