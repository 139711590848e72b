"""Manifests and features: bad rows are named by file and line, features are found again."""

import json

import numpy as np
import pytest

from stages.core.audio import AudioSpec
from stages.core.config import ConfigError
from stages.data.features import build_features, load_features
from stages.data.manifest import read_manifest

ROW = {
    "id": "a-1",
    "audio": "a.wav",
    "text": "Hi.",
    "speaker": "a",
    "duration": 1.0,
    "phones": [["pau", 0.5], ["ay", 1.0]],
}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("{", ":2: not a manifest row"),
        ("[]", ":2: not a manifest row"),
        (json.dumps({k: v for k, v in ROW.items() if k != "text"}), r":2: .*KeyError: 'text'"),
        (json.dumps(ROW | {"duration": "long"}), ":2: not a manifest row"),
        (json.dumps(ROW | {"phones": [["pau"]]}), ":2: not a manifest row"),
    ],
)
def test_bad_rows_name_file_and_line(tmp_path, second, message):
    path = tmp_path / "manifest.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + second + "\n")
    with pytest.raises(ConfigError, match="manifest.jsonl" + message):
        read_manifest(path)


def test_missing_and_empty_manifests(tmp_path):
    with pytest.raises(ConfigError, match="caretta prepare"):
        read_manifest(tmp_path / "none.jsonl")
    (tmp_path / "m.jsonl").write_text("")
    with pytest.raises(ConfigError, match="holds no rows"):
        read_manifest(tmp_path / "m.jsonl")


def test_features_fit_together_and_are_found_again(tiny_corpus, tiny_manifest):
    rows, spec = read_manifest(tiny_manifest), AudioSpec()
    assert len(tiny_corpus) == len(rows) and tiny_corpus.speakers == ["rms", "slt"]
    assert tiny_corpus.mel.shape == (tiny_corpus.frame_start[-1], 80)
    assert len(tiny_corpus.audio) == tiny_corpus.frame_start[-1] * spec.hop and len(tiny_corpus.pitch) == len(
        tiny_corpus.mel
    )
    assert [spec.frames(round(r.duration * 16000)) for r in rows] == tiny_corpus.lengths.tolist()
    known = tiny_corpus.pitch[: tiny_corpus.frame_start[24]]
    known = known[known > 0].astype(np.float64)
    assert len(known) > 100 and np.median(known) == pytest.approx(110, rel=0.03)  # the voice rms of the fake teacher
    before = tiny_corpus.folder.stat().st_mtime_ns
    assert build_features(tiny_manifest, spec) == tiny_corpus.folder and tiny_corpus.folder.stat().st_mtime_ns == before
    again = load_features(tiny_corpus.folder)
    assert again.ids == tiny_corpus.ids and np.array_equal(again.phones, tiny_corpus.phones)
