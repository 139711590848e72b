"""The trainer: a resume is as if nothing had happened, bad losses and changed configs are one clear sentence."""

import json

import pytest
import torch
from safetensors.torch import load_file

from stages.core import checkpoint
from stages.core.config import ConfigError
from stages.training.ema import WeightAverage
from stages.training.optim import lr_factor
from stages.training.run import make_trainer, read_run
from stages.training.trainer import TrainingError


def state(folder):
    return load_file(folder / "resume" / "state.safetensors")


@pytest.mark.parametrize("model", ["codes", "vocoder"])
def test_resume_is_exact(tiny_run, tmp_path, model):
    """2N steps = N steps, a new process's worth of objects, N steps, bit for bit; the vocoder with its adversary."""
    whole, parts = tiny_run(model, folder=tmp_path / "whole"), tiny_run(model, folder=tmp_path / "parts")
    make_trainer(whole).run()
    make_trainer(parts).run(stop_at=3)
    again = make_trainer(parts)
    assert again.step == 3
    again.run()
    a, b = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert a.keys() == b.keys() and (model == "codes" or any(k.startswith("adversary_optimizer") for k in a))
    assert not [k for k in a if not torch.equal(a[k], b[k])]
    digests = {checkpoint.checkpoint_digest(tmp_path / name / "checkpoint") for name in ("whole", "parts")}
    assert len(digests) == 1


def test_accumulated_halves_are_the_same_step_whatever_the_cut(tiny_run, tmp_path):
    runs = [tiny_run("codes", "trainer.accumulate=2", folder=tmp_path / name) for name in "ab"]
    make_trainer(runs[0]).run(stop_at=4)
    for stop in (1, 2, 4):
        make_trainer(runs[1]).run(stop_at=stop)
    a, b = state(tmp_path / "a"), state(tmp_path / "b")
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_finished_run_stays_as_it_is(tiny_run, tmp_path):
    run = tiny_run("codes", folder=tmp_path / "r")
    make_trainer(run).run()
    before = checkpoint.checkpoint_digest(tmp_path / "r" / "checkpoint")
    metrics = make_trainer(run).run()
    assert checkpoint.checkpoint_digest(tmp_path / "r" / "checkpoint") == before
    meta = checkpoint.read_meta(tmp_path / "r" / "checkpoint")
    assert meta["step"] == 6 and meta["metrics"] == metrics and meta["stage"] == "codes" and meta["licence"] == "MIT"


def test_time_box_stops_and_saves(tiny_run, tmp_path):
    seen = []
    trainer = make_trainer(tiny_run("codes", folder=tmp_path / "r"))
    trainer.run(minutes=0, progress=lambda done, end: seen.append(done))
    assert seen == [] and (tmp_path / "r" / "resume").is_dir()
    make_trainer(tiny_run("codes", folder=tmp_path / "r")).run(progress=lambda done, end: seen.append((done, end)))
    assert seen == [(n, 6) for n in range(1, 7)]
    rows = [json.loads(line) for line in (tmp_path / "r" / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if r["kind"] == "train"] == [2, 4, 6]


@pytest.mark.parametrize("lost", ["resume", "checkpoint"])
def test_crash_between_two_renames_loses_nothing(tiny_run, tmp_path, lost):
    run = tiny_run("codes", folder=tmp_path / "r")
    make_trainer(run).run(stop_at=2)
    (tmp_path / "r" / lost).rename(tmp_path / "r" / f".{lost}.old")
    (tmp_path / "r" / f".{lost}.partial").mkdir()
    assert make_trainer(run).step == 2 and (tmp_path / "r" / lost).is_dir()


def test_loss_that_is_not_finite_names_step_terms_and_items(tiny_run):
    trainer = make_trainer(tiny_run("codes"))
    usual = trainer.objective.losses

    def broken(batch, generator, step):
        return usual(batch, generator, step) | {"phone": torch.tensor(float("nan")) if step == 1 else torch.tensor(0.0)}

    trainer.objective.losses = broken
    with pytest.raises(TrainingError, match=r"step 1: the loss is not finite \(.*phone=nan.*items: \['(rms|slt)-"):
        trainer.run()
    assert trainer.step == 1


def test_changed_config_refuses_to_resume(tiny_run, tmp_path):
    make_trainer(tiny_run("codes", folder=tmp_path / "r")).run(stop_at=1)
    with pytest.raises(ConfigError, match="was trained with another config; name another folder"):
        make_trainer(tiny_run("codes", "network.depth=2", folder=tmp_path / "r"))
    make_trainer(tiny_run("codes", "trainer.steps=9", "trainer.log_every=1", folder=tmp_path / "r"))  # may change


def test_another_tokenizer_refuses_to_resume(tiny_run, tmp_path):
    run = tiny_run("diffusion", folder=tmp_path / "r")
    make_trainer(run).run(stop_at=1)
    path = tmp_path / "r" / "resume" / "state.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"codebook": "0" * 64}))
    with pytest.raises(ConfigError, match="was trained on the codes of another tokenizer; name another folder"):
        make_trainer(run)
    path.write_text(json.dumps({k: v for k, v in kept.items() if k != "codebook"}))  # as runs before it was kept
    assert kept["codebook"] and make_trainer(run).step == 1


@pytest.mark.parametrize("model", ["autoregressive", "rerank", "diffusion"])
def test_dependents_train_and_name_their_tokenizer(tiny_run, tiny_codes, tmp_path, model):
    trainer = make_trainer(tiny_run(model, folder=tmp_path / "r"))
    metrics = trainer.run(stop_at=2)
    meta = checkpoint.read_meta(tmp_path / "r" / "checkpoint")
    assert metrics and meta["codebook"] == checkpoint.checkpoint_digest(tiny_codes)
    if model == "autoregressive":  # the others take their sizes from the tokenizer
        with pytest.raises(ValueError, match="has 36 codes"):
            make_trainer(tiny_run(model, "network.codes=35", folder=tmp_path / "s"))


def test_unknown_keys_name_the_near_miss(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("model: codes\nfolder: r\ntrainer: {stepz: 3}\n")
    with pytest.raises(ConfigError, match="unknown key 'stepz'; did you mean 'steps'"):
        read_run(path)
    path.write_text("model: cods\nfolder: r\n")
    with pytest.raises(ConfigError, match="unknown model 'cods'; did you mean 'codes'"):
        read_run(path)


def test_learning_rate_warms_up_holds_and_falls():
    factors = [lr_factor(s, 100, 10, 0.5, 0.1) for s in range(101)]
    assert factors[0] == 0.1 and factors[9] == factors[50] == 1.0 and factors[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in zip(factors[50:], factors[51:], strict=False))


def test_average_swaps_there_and_back():
    model = torch.nn.Linear(2, 2)
    average, first = WeightAverage(model, 0.5), model.weight.detach().clone()
    with torch.no_grad():
        model.weight += 1
    average.update(model)
    average.swap(model)
    torch.testing.assert_close(model.weight.detach(), first + 9 / 11)  # decay warms up from 2 / 11
    average.swap(model)
    torch.testing.assert_close(model.weight.detach(), first + 1)
