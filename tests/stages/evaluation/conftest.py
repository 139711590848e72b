"""A recogniser that understands the fake voices, and something like speech."""

import numpy as np
import pytest


@pytest.fixture
def world(world, monkeypatch):
    """The shared world with the recogniser `fake`."""
    from stages.evaluation import intelligibility

    fake = intelligibility.Recogniser("fake", lambda data: f"word{len(data) % 7}", lambda: "fake 1")
    monkeypatch.setitem(intelligibility.RECOGNISERS, "fake", fake)
    return world


@pytest.fixture
def speech():
    """A second of something with formants that move: (16000,) float32."""
    time = np.arange(16000) / 16000
    pitch = np.cumsum(110 + 30 * np.sin(2 * np.pi * 2 * time)) / 16000
    voiced = sum(np.sin(2 * np.pi * k * pitch) / k for k in range(1, 30))
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * time)
    return (0.1 * voiced * envelope).astype(np.float32)
