"""A world of fake stages, and a recogniser that understands the fake voices."""

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [p for p in (str(ROOT), str(ROOT / "tests" / "fakes")) if p not in sys.path]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A working directory with fake stages, a route `tortoise`, the voices rms and slt, and the recogniser `fake`."""
    import fakestages

    from stages.core import pipeline, route, voices
    from stages.evaluation import intelligibility

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(route, "STAGES", dict(route.STAGES))
    monkeypatch.setattr(route, "ROUTES", route.ROUTES)
    monkeypatch.setattr(voices, "FOLDER", voices.FOLDER)
    monkeypatch.setattr(pipeline, "SPLITTER", pipeline.SPLITTER)
    fakestages.install(tmp_path)
    fake = intelligibility.Recogniser("fake", lambda data: f"word{len(data) % 7}", lambda: "fake 1")
    monkeypatch.setitem(intelligibility.RECOGNISERS, "fake", fake)
    return tmp_path


@pytest.fixture
def speech():
    """A second of something with formants that move: (16000,) float32."""
    time = np.arange(16000) / 16000
    pitch = np.cumsum(110 + 30 * np.sin(2 * np.pi * 2 * time)) / 16000
    voiced = sum(np.sin(2 * np.pi * k * pitch) / k for k in range(1, 30))
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * time)
    return (0.1 * voiced * envelope).astype(np.float32)
