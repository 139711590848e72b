"""Batches of several languages, and what a corpus has that the network has not."""

import json

import pytest

from stages.core.config import ConfigError


@pytest.fixture
def bilingual(tiny_manifest, tmp_path):
    """A manifest of half English, half German."""
    rows = [json.loads(line) for line in tiny_manifest.read_text().splitlines()]
    for n, row in enumerate(rows):
        row |= {"audio": str(tiny_manifest.parent / row["audio"]), "language": ("en", "de")[n % 2]}
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"manifest={manifest}"


def test_the_corpus_names_the_languages(tiny_objective, bilingual):
    objective = tiny_objective("vits", bilingual)
    assert objective.config.languages == ("de", "en") and objective.meta()["names"]["languages"] == ["de", "en"]
    batch, corpus = objective.batch(0), objective.corpus
    for row, (name, symbols) in enumerate(zip(batch["ids"], batch["phones"].tolist(), strict=True)):
        own = corpus.language_of[corpus.ids.index(name)]
        assert (batch["languages"][row, :symbols] == own).all() and not batch["languages"][row, symbols:].any()


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("network.languages=[en]", r"has utterances in de, which network.languages \(en\) lacks"),
        ("network.symbols=3", "network.symbols is 3, too few for the phones of"),
    ],
)
def test_what_the_network_has_no_row_for_is_refused(tiny_objective, bilingual, told, message):
    with pytest.raises(ConfigError, match=message):
        tiny_objective("vits", bilingual, told)
