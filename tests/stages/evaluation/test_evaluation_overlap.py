"""No evaluation sentence is a training text."""

from pathlib import Path

import pytest

from stages.data.corpora.starter import text_key

ROOT = Path(__file__).resolve().parents[3]
KEYS = ROOT / "artifacts" / "starter" / "texts.sha256"


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "evaluate").glob("*.txt")), ids=lambda p: p.name)
def test_no_evaluation_sentence_was_trained_on(path):
    if not KEYS.exists():
        pytest.skip(f"{KEYS.relative_to(ROOT)} is not there yet: the starter weights have not been released")
    trained = set(KEYS.read_text().split())
    assert trained and all(len(key) == 16 for key in trained)
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert lines and not [line for line in lines if text_key(line) in trained]


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "evaluate").glob("*.yaml")), ids=lambda p: p.name)
def test_evaluations_name_sentences_systems_and_measures_that_exist(path):
    from stages.evaluation.measures import MEASURES
    from stages.evaluation.run import read_config
    from stages.evaluation.systems import check_system
    from stages.evaluation.testset import read_list

    config = read_config(path)
    assert len(read_list(config.sentences)) >= 100 and not set(config.measures) - set(MEASURES)
    for entry in config.entries:
        if not entry.folder:
            check_system(entry.kind or "pipeline")
