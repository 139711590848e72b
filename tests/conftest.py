"""What the tests of models, training and flows share: a tiny synthetic corpus and the tiny training configs."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: tiny matrices lose time on threads

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "configs" / "tiny" / "train"


@pytest.fixture(scope="session")
def tiny_manifest(tmp_path_factory):
    """A manifest of 24 synthetic utterances each of two voices, with phone timings."""
    import tinycorpus

    return tinycorpus.write(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def tiny_corpus(tiny_manifest):
    """Its features."""
    from stages.core.audio import AudioSpec
    from stages.data.features import build_features, load_features

    return load_features(build_features(tiny_manifest, AudioSpec()))


@pytest.fixture(scope="session")
def tiny_codes(tmp_path_factory, tiny_corpus):
    """Checkpoint folder of a tiny tokenizer with its initial weights."""
    import torch

    from stages.codes.model import CodesModelConfig, SpeechTokenizer
    from stages.core import checkpoint, symbols
    from stages.core.config import build
    from stages.training.run import read_run

    folder = tmp_path_factory.mktemp("runs") / "codes" / "checkpoint"
    config = build(CodesModelConfig, read_run(TINY / "codes.yaml").network, "codes.network")
    torch.manual_seed(0)
    meta = {"stage": "codes", "audio": config.audio.digest, "symbols": symbols.DIGEST, "step": 0}
    checkpoint.write(folder, SpeechTokenizer(config).state_dict(), config, meta)
    return folder


@pytest.fixture
def tiny_run(tmp_path, tiny_manifest, tiny_codes):
    """Gives `tiny_run(model, *sets)`: the tiny TrainingRun of a model in a folder of its own."""
    from stages.training.run import read_run

    def make(model, *sets, folder=None):
        own = [f"manifest={tiny_manifest}", f"folder={folder or tmp_path / model}", "trainer.device=cpu"]
        if model in ("autoregressive", "rerank", "diffusion"):
            own.append(f"objective.codes={tiny_codes}")
        return read_run(TINY / f"{model}.yaml", [*own, *sets])

    return make


@pytest.fixture
def tiny_objective(tiny_run):
    """Gives `tiny_objective(model, *sets)`: the objective with its tiny model, freshly initialised."""
    from stages.training.run import make_trainer

    return lambda model, *sets: make_trainer(tiny_run(model, *sets)).objective


@pytest.fixture
def overfit():
    """Gives `overfit(objective, steps, lr)`: the loss of one batch before and after so many steps on it."""
    import torch

    def run(objective, steps=60, lr=3e-3, step=0):
        batch = objective.batch(0)
        objective.model.train()
        optimizer = torch.optim.AdamW(objective.model.parameters(), lr=lr)

        def loss():
            terms = objective.losses(batch, torch.Generator().manual_seed(0), step)
            return torch.stack([v for k, v in terms.items() if not k.startswith("_")]).sum()

        first = float(loss().detach())
        for _ in range(steps):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
        return first, float(loss().detach())

    return run


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


@pytest.fixture
def caretta(world, capsys):
    """Runs a command; gives (exit code, stdout, stderr)."""

    from flows import cli

    def run(*argv):
        code = cli.main([str(a) for a in argv])
        return (code, *capsys.readouterr())

    return run
