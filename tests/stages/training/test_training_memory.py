"""Memory told before a training starts: measured activations, what a GPU must have, and nothing changed by asking."""

from pathlib import Path

import pytest
import torch

from stages.core.config import ConfigError
from stages.training.config import TrainerConfig
from stages.training.memory import GIB, Memory, _Kept, activations, estimate, measured, refuse_too_small, told_after
from stages.training.run import make_trainer, read_run

ROOT = Path(__file__).resolve().parents[3]


def whole(objective):
    """Bytes that autograd keeps of the whole first batch."""
    with _Kept(objective.model) as counter:
        objective.losses(objective.batch(0), torch.Generator().manual_seed(0), -1)
    return counter.total(False)


@pytest.mark.parametrize("model", ["codes", "autoregressive", "rerank", "diffusion", "vocoder"])
def test_a_few_items_tell_of_the_whole_batch(tiny_objective, model):
    objective = tiny_objective(model)
    assert activations(objective) == pytest.approx(whole(objective), rel=0.25)


def test_asking_changes_nothing(tiny_objective):
    objective = tiny_objective("vocoder")
    state = {k: v.clone() for k, v in objective.model.state_dict().items()}
    judges = {k: v.clone() for k, v in objective.adversary().state_dict().items()}
    torch.manual_seed(5)
    estimate(objective, TrainerConfig())
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))
    assert all(torch.equal(v, state[k]) for k, v in objective.model.state_dict().items())
    assert all(torch.equal(v, judges[k]) for k, v in objective.adversary().state_dict().items())
    assert all(p.grad is None for p in objective.model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in objective.model.modules())


def test_parts_are_counted(tiny_objective):
    objective = tiny_objective("diffusion")
    count = sum(p.numel() for p in objective.model.parameters())
    full = estimate(objective, TrainerConfig())
    assert (full.parameters, full.gradients, full.optimizer) == (count, 4 * count, 12 * count)
    assert full.weights >= 4 * count and full.adversary == 0
    half = estimate(objective, TrainerConfig(precision="bfloat16"))
    assert half.activations == full.activations // 2 and half.weights > full.weights
    saving = estimate(objective, TrainerConfig(gradient_checkpointing=True))
    assert saving.activations < full.activations
    assert estimate(tiny_objective("vocoder"), TrainerConfig()).adversary > 0


def test_a_gpu_that_is_too_small_is_one_sentence():
    memory = Memory(10**9, *[4 * GIB] * 3, 0, 0, 2 * GIB)
    refuse_too_small(memory, "cuda:0", 17.0)
    with pytest.raises(
        ConfigError, match=r"cuda:0: has 7.5 GiB free and this training needs about 16.7; .*8gb"
    ) as error:
        refuse_too_small(memory, "cuda:0", 7.5)
    assert "\n" not in str(error.value)
    assert memory.text().startswith("memory: about 16.10 GiB for 1000.00 M parameters (weights 4.00")


def test_memory_is_told_before_and_once_after_some_steps(tiny_run, tmp_path):
    said = []
    trainer = make_trainer(tiny_run("codes", "trainer.steps=45", "trainer.log_every=99"), tell=said.append)
    assert len(said) == 1 and said[0].startswith("memory: about ")
    passed = []
    trainer.run(progress=told_after("cpu", said.append, lambda *counts: passed.append(counts)))
    assert len(said) == 2 and "taken by the process" in said[1] and len(passed) == 45
    assert measured("cpu").startswith("memory: ")


@pytest.mark.slow
def test_the_8gb_size_fits_8_gb(tmp_path, monkeypatch, capsys):
    """With utterances of about ten seconds at 24 kHz."""
    import tinycorpus

    monkeypatch.setattr(tinycorpus, "RATE", 24000)
    one = tinycorpus.sentence
    monkeypatch.setattr(tinycorpus, "sentence", lambda n: " ".join(one(100 * n + i)[:-1] for i in range(6)) + ".")
    manifest = tinycorpus.write(tmp_path, 30)
    codes = tmp_path / "codes"
    for name in ("codes", "autoregressive", "rerank", "diffusion", "vocoder"):
        sets = [f"manifest={manifest}", f"folder={tmp_path / name}", "trainer.device=cpu", "trainer.precision=float32"]
        sets += [] if name in ("codes", "vocoder") else [f"objective.codes={codes}/checkpoint"]
        trainer = make_trainer(read_run(ROOT / f"configs/train/8gb/{name}.yaml", sets))
        if name == "codes":
            trainer.save()
        config = read_run(ROOT / f"configs/train/8gb/{name}.yaml").trainer
        memory = estimate(trainer.objective, config)
        with capsys.disabled():
            print(f"\n{name}: {memory.text()}")
        refuse_too_small(memory, "a GPU of 8 GB", 8e9 / GIB - 0.1)
