"""Several adversaries in one objective: the trainer sees one, and a resume is exact whenever each sets in."""

from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from stages.core.seeding import generator
from stages.training.adversarial import AdversarialLoss
from stages.training.adversaries import Adversaries
from stages.training.config import TrainerConfig
from stages.training.distributed import World
from stages.training.trainer import Trainer

LATE = 3


class Judge(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(size, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, x):
        return [(self.net(x), [x])]


@dataclass(frozen=True)
class Network:
    size: int = 4


class Toy:
    """Makes numbers that one judge hears from the start, another from step LATE on."""

    stage, config = "toy", Network()

    def __init__(self):
        torch.manual_seed(0)
        self.model = nn.Linear(4, 4)
        self._adversaries = Adversaries(sound=AdversarialLoss(Judge(4), 1e-2), late=AdversarialLoss(Judge(2), 1e-2))

    def batch(self, step):
        return {"x": torch.randn(6, 4, generator=generator(step)), "ids": ["toy"]}

    def losses(self, batch, generator, step):
        real = batch["x"]
        fake = self.model(torch.randn(real.shape, generator=generator))
        out, parts = {}, {"sound": slice(0, 4)} | ({"late": slice(0, 2)} if step >= LATE else {})
        for name, part in parts.items():
            loss = self._adversaries[name]
            out[f"_{name}"], out[name], _ = loss(fake[:, part], real[:, part])
        return out

    def validate(self):
        return {"nothing": 0.0}

    def meta(self):
        return {}

    def adversary(self):
        return self._adversaries


def trained(folder, stops, precision="float32"):
    for stop in stops:
        config = TrainerConfig(steps=6, device="cpu", precision=precision, accumulate=2, log_every=1)
        trainer = Trainer(Toy(), config, folder, {"trainer": {}}, World())
        trainer.run(stop_at=stop)
    return trainer, load_file(folder / "resume" / "state.safetensors")


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("stops", [(2, 6), (4, 6)])
def test_resume_is_exact_before_and_after_one_sets_in(tmp_path, stops, precision):
    _, whole = trained(tmp_path / "whole", [6], precision)
    trainer, parts = trained(tmp_path / "parts", stops, precision)
    assert whole.keys() == parts.keys() and all(torch.equal(whole[k], parts[k]) for k in whole)
    assert {k.split(".")[0] for k in whole if k.startswith("adversary")} == {
        "adversary_sound", "adversary_sound_optimizer", "adversary_late", "adversary_late_optimizer"
    }  # fmt: skip
    scales = trainer.objective.adversary().scales()
    assert all(("scale" in scales[name]) == (precision == "float16") for name in ("sound", "late"))


def test_one_that_learns_nothing_stays_as_it_is_and_has_no_moments(tmp_path):
    fresh = {k: v.clone() for k, v in Toy().adversary().state_dict().items()}
    trainer, state = trained(tmp_path, [LATE])
    now = trainer.objective.adversary().state_dict()
    changed = {k.split(".")[1] for k, v in now.items() if not torch.equal(v, fresh[k])}
    assert changed == {"sound"} and not [k for k in state if k.startswith("adversary_late_optimizer")]


def test_it_stands_for_all_of_them():
    adversaries = Toy().adversary()
    assert adversaries.gradient_norm(World()) is None
    adversaries.share = 0.5
    assert adversaries["late"].share == adversaries.share == 0.5
    assert adversaries.discriminators is adversaries["sound"].discriminators
    for name, size in (("sound", 4), ("late", 2)):
        adversaries[name](torch.ones(3, size), torch.zeros(3, size))
    norms = [
        torch.stack([p.grad.norm() for p in adversaries[n].discriminators.parameters()]).norm()
        for n in ("sound", "late")
    ]
    assert torch.allclose(adversaries.gradient_norm(World()), torch.stack(norms).norm())
    with pytest.raises(ValueError, match="no adversary is named"):
        Adversaries()
