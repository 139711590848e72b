"""A recogniser that understands the fake voices, something like speech, and a small configuration over fake stages."""

import numpy as np
import pytest

TEXTS = ["Hello there.", "How are you? I am well.", "<b>One</b> & more.", "Another line."]


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


@pytest.fixture
def config(world, monkeypatch, speech):
    """Writes a configuration over TEXTS; gives its path. The teacher is a generated sound."""
    from stages.core.types import Audio
    from stages.evaluation import bench

    (world / "s.txt").write_text("\n".join(TEXTS))
    path = world / "small.yaml"
    path.write_text(
        "sentences: s.txt\nrecogniser: fake\nworkers: 1\ndraws: 200\nsystems: [teacher, pipeline]\nmeasures: [mcd]\n"
    )

    def render(texts, voice, store, workers=1):
        return [bench.Clip(Audio(speech[: 3000 + 500 * n], 16000)) for n, _ in enumerate(texts)]

    monkeypatch.setattr(bench, "render_teacher", render)
    monkeypatch.setattr("stages.evaluation.run.check_teacher", lambda voice: None)
    return path


@pytest.fixture
def tokenizer(world):
    """A tiny untrained tokenizer's checkpoint."""
    import torch

    from stages.codes.model import CodesModelConfig, SpeechTokenizer
    from stages.core import checkpoint

    torch.manual_seed(0)
    small = CodesModelConfig(width=16, depth=1, voice_width=8)
    checkpoint.write(world / "codes", SpeechTokenizer(small).state_dict(), small, {"stage": "codes"})
    return world / "codes"
