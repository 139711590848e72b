"""A world of fake stages for the tests of the store and the pipeline."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [p for p in (str(ROOT), str(ROOT / "tests" / "fakes")) if p not in sys.path]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A working directory with fake stages, a route `tortoise` and the voices rms and slt."""
    import fakestages

    from stages.core import pipeline, route, voices

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(route, "STAGES", dict(route.STAGES))
    monkeypatch.setattr(route, "ROUTES", route.ROUTES)
    monkeypatch.setattr(voices, "FOLDER", voices.FOLDER)
    monkeypatch.setattr(pipeline, "SPLITTER", pipeline.SPLITTER)
    fakestages.install(tmp_path)
    return tmp_path
