"""Embeddings of speakers and words, and codes: made once by content; what cannot be made is said, never made up."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tinybert
import tinycorpus

from stages.core.artifacts import ArtifactStore
from stages.core.audio import AudioSpec
from stages.core.config import ConfigError
from stages.data import codes, derived, embeddings
from stages.data.embeddings import speaker_embeddings, text_embeddings
from stages.data.features import build_features, load_features
from stages.nn.words import word_places

VOICES = Path(__file__).resolve().parents[3] / "artifacts" / "voices"


def spoken(folder, rows):
    """The corpus of (id, speaker, samples) rows."""
    lines = []
    for name, speaker, samples in rows:
        soundfile.write(folder / f"{name}.wav", samples, 16000, subtype="PCM_16")
        lines.append({"id": name, "audio": f"{name}.wav", "text": "Hi.", "speaker": speaker, "phones": [],
                      "duration": len(samples) / 16000})  # fmt: skip
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return load_features(build_features(folder / "manifest.jsonl", AudioSpec()))


def test_speakers_are_told_apart_and_silence_has_no_embedding(tmp_path, monkeypatch):
    sounds = {voice: soundfile.read(VOICES / voice / "clip.flac", dtype="float32")[0] for voice in ("rms", "slt")}
    rows = [
        (f"{voice}{n}", voice, part) for voice, sound in sounds.items() for n, part in enumerate((sound, sound[:32000]))
    ]
    corpus = spoken(tmp_path, [*rows, ("quiet", "slt", np.zeros(16000, np.float32))])
    found = speaker_embeddings(corpus, workers=1)
    assert found.silent == ("quiet",) and set(found.utterances) == {name for name, _, _ in rows}
    assert all(np.linalg.norm(v) == pytest.approx(1, abs=1e-4) and v.shape == (256,) for v in found.utterances.values())
    own = found.utterances["rms1"] @ found.speakers["rms"]
    assert own > 0.9 > found.utterances["rms1"] @ found.speakers["slt"] + 0.1
    monkeypatch.setattr(embeddings, "_speaker", lambda *_: pytest.fail("computed again"))
    assert np.array_equal(speaker_embeddings(corpus).utterances["slt0"], found.utterances["slt0"])


def test_a_speaker_without_speech_is_named(tmp_path):
    corpus = spoken(tmp_path, [("a", "mute", np.zeros(16000, np.float32))])
    with pytest.raises(ConfigError, match="no utterance of speaker 'mute' has speech"):
        speaker_embeddings(corpus)


def test_word_places_follow_the_words():
    words = [("dh", "ax"), ("k", "ae", "t"), ("s", "ae", "t")]
    said = "pau dh ax k ae t pau s ae t pau".split()
    assert word_places(said, words).tolist() == [0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    other = "pau dh iy k ae d s ae t pau".split()  # two phones said otherwise
    assert word_places(other, words).tolist() == [0, 1, 1, 2, 2, 2, 3, 3, 3, 3]
    assert word_places(["pau", "zh", "pau"], words).tolist() == [0, 1, 1]
    rng = np.random.default_rng(0)
    for _ in range(50):
        found = word_places(rng.choice(["pau", "ae", "t", "k", "s"], 12).tolist(), words)
        assert (np.diff(found) >= 0).all() and found.max() <= 3


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """Folder of a tiny encoder."""
    return tinybert.write(tmp_path_factory.mktemp("bert"))


def test_phones_have_the_vector_of_their_word(tmp_path, bert, monkeypatch):
    corpus = load_features(build_features(tinycorpus.write(tmp_path, 2), AudioSpec()))
    found = text_embeddings(corpus, bert, workers=1)
    assert found.shape == (len(corpus.phones), 16) and found.dtype == np.float16 and np.isfinite(found).all()
    row = found[corpus.phones_of(0)]
    spoken_words = len(np.unique(row, axis=0)) - 1  # and the sentence's start
    assert 2 <= spoken_words <= len(corpus.texts[0].split()) and not (row == 0).all(axis=1).any()
    (corpus.folder / next(corpus.folder.glob("bert-*.npy")).name).unlink()
    monkeypatch.setattr(embeddings, "_words", lambda *_: pytest.fail("computed again"))
    assert np.array_equal(text_embeddings(corpus, bert), found)


def test_without_a_model_there_is_an_error_and_no_zeros(tmp_path, bert):
    corpus = load_features(build_features(tinycorpus.write(tmp_path, 2), AudioSpec()))
    for folder in ("", ".", tmp_path / "none"):
        with pytest.raises(ConfigError, match="is no folder; name the folder of a transformers encoder"):
            text_embeddings(corpus, folder)
    bare = tmp_path / "bare"
    shutil.copytree(bert, bare)
    (bare / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="has no model.safetensors"):
        text_embeddings(corpus, bare)
    (bare / "model.safetensors").write_bytes(b"none")
    with pytest.raises(ConfigError, match="cannot be loaded|cannot be read"):
        text_embeddings(corpus, bare)


def test_codes_of_an_utterance_are_made_once(tmp_path, tiny_codes, monkeypatch):
    calls, own = [], codes._encode
    monkeypatch.setattr(codes, "_encode", lambda corpus, i, *rest: calls.append(i) or own(corpus, i, *rest))
    manifest = tinycorpus.write(tmp_path, 4)
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(lines[:3]) + "\n")
    first = codes.read_codes(str(tiny_codes), load_features(build_features(manifest, AudioSpec())))
    manifest.write_text("\n".join([lines[5], *lines[:3]]) + "\n")
    second = codes.read_codes(str(tiny_codes), load_features(build_features(manifest, AudioSpec())))
    assert calls == [0, 1, 2, 0]
    assert np.array_equal(first.codes, second.codes[int(second.start[1]) :])


def _length(corpus, i, factor):
    return np.array([int(corpus.lengths[i]) * factor])


def test_equal_content_is_made_once_and_order_is_kept(tiny_corpus, tmp_path):
    keys = [f"{i:064x}" for i in range(len(tiny_corpus))]
    keys[5] = keys[4]
    told = []
    found = derived.derive(tiny_corpus, keys, _length, (3,), 1, lambda *n: told.append(n), ArtifactStore(tmp_path))
    wanted = [3 * n for n in tiny_corpus.lengths.tolist()]
    wanted[4] = wanted[5] = found[4].item()
    assert [array.item() for array in found] == wanted and told == [(32, 47), (47, 47)]
