"""Tones and languages of a corpus: of what was said, made once; folders of before know one language."""

import json
import shutil

import numpy as np
import pytest
import tinycorpus

from stages.core.audio import AudioSpec
from stages.core.symbols import SYMBOLS, VOWELS
from stages.data import tones
from stages.data.features import build_features, load_features


def test_tones_lie_at_the_phones_and_are_made_once(tmp_path, monkeypatch):
    corpus = load_features(build_features(tinycorpus.write(tmp_path, 2), AudioSpec()))
    found = tones.tones_of(corpus, workers=1)
    assert found.shape == corpus.phones.shape and found.dtype == np.int8 and isinstance(found, np.memmap)
    vowel = np.array([symbol in VOWELS for symbol in SYMBOLS])[corpus.phones]
    assert not found[~vowel].any() and found[vowel].any() and found.max() <= 3
    next(corpus.folder.glob("tones-*.npy")).unlink()
    monkeypatch.setattr(tones, "_tones", lambda *_: pytest.fail("computed again"))
    assert np.array_equal(tones.tones_of(corpus), found)


def test_a_text_without_a_word_has_no_tones(tmp_path):
    manifest = tinycorpus.write(tmp_path, 2)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[0]["text"] = "…"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = load_features(build_features(manifest, AudioSpec()))
    stressed = tones.tones_of(corpus)[corpus.phones_of(0)]
    said = [SYMBOLS[n] for n in corpus.phones[corpus.phones_of(0)]]
    assert all(tone == (3 if phone == "ax" else 0) for tone, phone in zip(stressed, said, strict=True))


def test_languages_are_told_apart_and_old_folders_are_english(tmp_path):
    manifest = tinycorpus.write(tmp_path, 2)
    plain = build_features(manifest, AudioSpec())
    corpus = load_features(plain)
    assert corpus.languages == ["en"] and corpus.language_of.tolist() == [0] * len(corpus)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[1]["language"] = "zz"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = load_features(build_features(manifest, AudioSpec()))
    assert corpus.languages == ["en", "zz"] and corpus.language_of.tolist() == [0, 1, *[0] * (len(rows) - 2)]
    old = tmp_path / "old"  # as it was written before languages were told apart
    shutil.copytree(plain, old)
    names = json.loads((old / "index.json").read_text())
    del names["languages"]
    (old / "index.json").write_text(json.dumps(names))
    with np.load(old / "index.npz") as index:
        np.savez(old / "index.npz", **{k: index[k] for k in index.files if k != "language_of"})
    corpus = load_features(old)
    assert corpus.languages == ["en"] and not corpus.language_of.any() and len(corpus.language_of) == len(corpus)
