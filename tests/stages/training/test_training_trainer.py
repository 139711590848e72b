"""The trainer: a resume is as if nothing had happened, bad losses and changed configs are one clear sentence."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stages.core import checkpoint
from stages.core.config import ConfigError, to_plain
from stages.core.fingerprint import digest
from stages.training.ema import WeightAverage
from stages.training.optim import lr_factor
from stages.training.record import Picture, Sound
from stages.training.resume import identity
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


def test_micro_batches_weigh_what_their_targets_are(tiny_run, tiny_objective, tmp_path):
    """A step's loss is the mean over all its codes, not the mean of two means."""
    sets = ["trainer.accumulate=2", "objective.corruption=0.0", "trainer.log_every=1"]
    make_trainer(tiny_run("autoregressive", *sets, folder=tmp_path / "r")).run(stop_at=1)
    logged = json.loads((tmp_path / "r" / "log.jsonl").read_text().splitlines()[0])
    objective = tiny_objective("autoregressive", "objective.corruption=0.0")
    batches = [objective.batch(n) for n in range(2)]
    counts = [int((b["codes"] >= 0).sum()) for b in batches]
    assert counts[0] != counts[1] and counts == [b["targets"] for b in batches]
    total = sum(
        objective.losses(b, torch.Generator(), 0)["code"] * n / sum(counts)
        for b, n in zip(batches, counts, strict=True)
    )
    assert logged["code"] == pytest.approx(float(total.detach()), abs=1e-4)
    shares = [(b["phones"] != 0).sum() + (b["codes"] >= 0).sum() for b in batches]
    waste = [1 - s / (b["phones"].numel() + b["codes"].numel()) for s, b in zip(shares, batches, strict=True)]
    assert logged["_padding"] == pytest.approx(float(sum(waste)) / 2, abs=1e-4)


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_half_precision_trains_as_single_does_and_resumes_exactly(tiny_run, tmp_path, kind):
    for name, stops in (("whole", [6]), ("parts", [2, 6])):
        for stop in stops:
            make_trainer(tiny_run("vocoder", f"trainer.precision={kind}", folder=tmp_path / name)).run(stop_at=stop)
    make_trainer(tiny_run("vocoder", folder=tmp_path / "single")).run()
    a, b, single = (state(tmp_path / name) for name in ("whole", "parts", "single"))
    assert not [k for k in a if not torch.equal(a[k], b[k])]
    assert all(a[k].dtype == v.dtype for k, v in single.items())
    last = [json.loads((tmp_path / n / "log.jsonl").read_text().splitlines()[0])["mel"] for n in ("whole", "single")]
    assert last[0] == pytest.approx(last[1], rel=0.02)
    facts = json.loads((tmp_path / "whole" / "resume" / "state.json").read_text())
    assert ("scale" in facts["scaler"]) == ("scale" in facts["adversary_scaler"]) == (kind == "float16")


def test_overflow_skips_the_step_and_counts_it(tiny_run, tmp_path, monkeypatch):
    trainer = make_trainer(tiny_run("autoregressive", "trainer.precision=float16", folder=tmp_path / "r"))
    before = {k: v.clone() for k, v in trainer.objective.model.state_dict().items()}
    trainer._scaler.restore(trainer._scaler.state() | {"scale": 2.0**127})
    trainer.run(stop_at=2)
    assert trainer.step == 2 and trainer.average.updates == 0
    assert all(torch.equal(v, before[k]) for k, v in trainer.objective.model.state_dict().items())
    facts = json.loads((tmp_path / "r" / "resume" / "state.json").read_text())
    assert facts["skipped"] == 2 and facts["scaler"]["scale"] == 2.0**125
    rows = [json.loads(line) for line in (tmp_path / "r" / "log.jsonl").read_text().splitlines()]
    assert rows[0]["_skipped"] == 1.0 and [r["sign"] for r in rows if r["kind"] == "sign"] == ["overflow"]
    monkeypatch.setattr("stages.training.trainer.MOST_SKIPPED", 4)
    again = make_trainer(tiny_run("autoregressive", "trainer.precision=float16", folder=tmp_path / "r"))
    with pytest.raises(TrainingError, match="4 steps in a row do not fit float16; set trainer.precision=bfloat16"):
        again.run()


@pytest.mark.parametrize("model", ["codes", "autoregressive", "rerank", "diffusion", "vocoder", "vits"])
def test_recomputed_activations_change_no_bit(tiny_objective, model):
    sets = ["network.dropout=0.1"] if model == "autoregressive" else []
    sets += ["network.flow.dropout=0.1"] if model == "vits" else []
    kept, recomputed = (tiny_objective(model, *sets, f"trainer.gradient_checkpointing={v}") for v in ("false", "true"))
    batch = kept.batch(0)
    for objective in (kept, recomputed):
        objective.model.train()
        torch.manual_seed(0)
        losses = objective.losses(batch, torch.Generator().manual_seed(0), 0)
        torch.stack([v for k, v in losses.items() if not k.startswith("_")]).sum().backward()
    for (name, a), b in zip(kept.model.named_parameters(), recomputed.model.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None) and (a.grad is None or torch.equal(a.grad, b.grad)), name


def test_settings_that_cannot_be_are_one_sentence(tiny_run, monkeypatch):
    for sets, said in (
        ("trainer.precision=float8", "trainer.precision: unknown precision 'float8'; did you mean"),
        ("trainer.schedule=cosin", "trainer.schedule: unknown schedule 'cosin'; did you mean 'cosine'"),
    ):
        with pytest.raises(ConfigError, match=said):
            make_trainer(tiny_run("codes", sets))
    monkeypatch.setattr("stages.training.trainer.compile_blocks", lambda model: 0)
    with pytest.raises(ConfigError, match="trainer.compile: codes has no blocks to do so; set it to false"):
        make_trainer(tiny_run("codes", "trainer.compile=true"))


@pytest.mark.slow
def test_compiled_blocks_learn_the_same_within_rounding(tiny_run, tmp_path):
    for name in ("false", "true"):
        make_trainer(tiny_run("autoregressive", f"trainer.compile={name}", folder=tmp_path / name)).run(stop_at=2)
    a, b = state(tmp_path / "false"), state(tmp_path / "true")
    assert a.keys() == b.keys()
    rows = [json.loads((tmp_path / n / "log.jsonl").read_text().splitlines()[0]) for n in ("false", "true")]
    assert rows[0]["code"] == pytest.approx(rows[1]["code"], abs=1e-3)


@pytest.fixture
def full_disk():
    """Gives `full_disk(bytes)`: from then on no file may grow beyond so many."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [20_000, 200_000])
def test_full_disk_keeps_the_state_before_and_is_one_sentence(tiny_run, tmp_path, full_disk, room):
    """The disk is full in the middle of the state, or of the checkpoint after it (a third as large)."""
    run = tiny_run("codes", folder=tmp_path / "r")
    make_trainer(run).run(stop_at=2)
    kept = checkpoint.checkpoint_digest(tmp_path / "r" / "checkpoint")
    sizes = [
        (tmp_path / "r" / name).stat().st_size for name in ("resume/state.safetensors", "checkpoint/model.safetensors")
    ]
    assert sizes[0] > 200_000 and 20_000 < sizes[1]
    trainer = make_trainer(run)
    full_disk(room)
    with pytest.raises(
        TrainingError, match=r"r: step 4 cannot be written \(.*large.*\); the state of step 2 is kept; make"
    ):
        trainer.run(stop_at=4)
    assert not list((tmp_path / "r").glob(".*.partial"))
    assert checkpoint.checkpoint_digest(tmp_path / "r" / "checkpoint") == kept and make_trainer(run).step == 2


def test_damaged_state_names_the_file(tiny_run, tmp_path):
    run = tiny_run("codes", folder=tmp_path / "r")
    make_trainer(run).run(stop_at=1)
    for name in ("state.safetensors", "state.json"):
        path = tmp_path / "r" / "resume" / name
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(ConfigError, match=f"{name}: is damaged .*; restore it, or delete .*resume to train from"):
            make_trainer(run)


def test_states_of_before_are_gone_on_with(tiny_run, tmp_path):
    """Without loss scales, and known by the experiment without keys that came later."""
    run = tiny_run("codes", folder=tmp_path / "r")
    make_trainer(run).run(stop_at=2)
    plain = to_plain(run)
    later = ("schedule", "prefetch", "compile", "gradient_checkpointing", "tensorboard", "samples")
    free = ("steps", "threads", "device", "log_every", "validate_every", "save_minutes", "decay_share", "lr_floor")
    trainer = {k: v for k, v in plain["trainer"].items() if k not in (*free, *later)}
    first = {k: plain[k] for k in ("model", "folder", "manifest", "audio", "network", "objective")}
    path = tmp_path / "r" / "resume" / "state.json"
    old = {"step": 2, "updates": 2, "experiment": digest({**first, "trainer": trainer}), "codebook": None}
    path.write_text(json.dumps(old))
    assert make_trainer(run).step == 2
    assert identity(plain | {"another": None}) == identity(plain) != identity(plain | {"another": "x"})
    for key, value in (("schedule", "noam"), ("accumulate", 2)):
        assert identity(plain | {"trainer": plain["trainer"] | {key: value}}) != identity(plain)


@pytest.mark.parametrize("model", ["codes", "autoregressive", "diffusion", "vocoder"])
def test_validation_shows_what_the_model_makes(tiny_run, tmp_path, model):
    trainer = make_trainer(tiny_run(model, folder=tmp_path / "r"))
    shown = []
    trainer.record.samples = lambda step, samples: shown.append((step, samples))
    metrics = trainer.run(stop_at=1)
    (step, samples), *rest = shown
    assert step == 1 and not rest
    for sample in samples.values():
        if isinstance(sample, Picture):
            assert sample.values.ndim == 2 and np.isfinite(sample.values).all()
        elif isinstance(sample, Sound):
            assert sample.samples.dtype == np.float32 and np.abs(sample.samples).max() <= 1.5
    assert any(isinstance(s, Picture) for s in samples.values())
    if model == "autoregressive":
        alignment = samples["alignment"].values
        assert (alignment.sum(0) == 1).all() and 0 <= metrics["loops"] <= 1
    make_trainer(tiny_run(model, "trainer.samples=false", folder=tmp_path / "s")).run(stop_at=1)
    a, b = state(tmp_path / "r"), state(tmp_path / "s")
    assert all(torch.equal(a[k], b[k]) for k in a)


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


def test_other_schedules():
    noam = [lr_factor(s, 100, 4, 0.5, 0.05, "noam") for s in range(100)]
    assert noam[:4] == [0.25, 0.5, 0.75, 1.0] and noam[15] == 0.5 and noam[63] == 0.25
    assert lr_factor(10**6, 100, 4, 0.5, 0.05, "noam") == 0.05
    assert [lr_factor(s, 100, 2, 0.5, 0.05, "constant") for s in (0, 1, 50, 99)] == [0.5, 1, 1, 1]


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
