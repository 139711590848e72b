"""Training of VITS: it learns, resumes exactly with its adversaries, aligns either way, starts from other weights."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stages.core import checkpoint
from stages.core.config import ConfigError
from stages.data import prepare
from stages.training.memory import activations, estimate
from stages.training.run import make_trainer, read_run

ROOT = Path(__file__).resolve().parents[3]
JUDGES = ("sound", "durations")
SAID = "The birch canoe slid on the smooth planks, and the sun came up."
"""by every voice of artifacts/voices"""
TIMED = ("network.blank=false", "objective.alignment=timings")
SILENT = ("objective.adversarial_weight=0", "objective.duration_adversarial_weight=0")


def rows_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_one_batch_is_learnt(tiny_objective, overfit):
    objective = tiny_objective("vits", *SILENT, "objective.positions=300")
    first, last = overfit(objective, steps=25, lr=5e-3)
    assert last < 0.7 * first


def test_resume_is_exact_with_adversaries(tiny_run, tmp_path):
    """2N steps = N steps, a new process's worth of objects, N steps, bit for bit."""
    runs = [tiny_run("vits", "trainer.samples=false", folder=tmp_path / name) for name in ("whole", "parts")]
    make_trainer(runs[0]).run(stop_at=4)
    for stop in (2, 4):
        trainer = make_trainer(runs[1])
        assert trainer.step == stop - 2
        trainer.run(stop_at=stop)
    a, b = (load_file(tmp_path / name / "resume" / "state.safetensors") for name in ("whole", "parts"))
    assert a.keys() == b.keys() and all(any(k.startswith(f"adversary_{n}_optimizer") for k in a) for n in JUDGES)
    assert not [k for k in a if not torch.equal(a[k], b[k])]


@pytest.mark.parametrize("sets", [(), TIMED, (*TIMED, "objective.crop=40", "network.posterior.input=mel")])
def test_every_way_to_align_trains(tiny_run, tmp_path, sets):
    trainer = make_trainer(tiny_run("vits", *sets, "trainer.steps=2", folder=tmp_path / "r"))
    metrics = trainer.run()
    assert {"kl", "mel_l1", "spoken_mel_l1", "tempo"} <= metrics.keys() and all(map(math.isfinite, metrics.values()))
    row = rows_of(tmp_path / "r")[0]
    own = {"kl", "stochastic_duration", "duration", "duration_adversarial", "mel", "adversarial", "matching"}
    assert own | {"_discriminator", "_duration_discriminator"} <= row.keys()


def test_durations_are_the_searchs_or_the_corpus_own(tiny_objective):
    """Both give every symbol a frame and every frame a symbol."""
    draws = torch.Generator().manual_seed(0)
    for sets in (("objective.search_noise=0.5",), TIMED):
        objective = tiny_objective("vits", *SILENT, *sets)
        batch, model = objective.batch(0), objective.model
        found = objective._align(batch, model.condition(batch["speakers"], batch["accents"]), draws, 0)
        assert (found.durations.sum(1) == batch["frames"]).all()
        for row, (phones, frames) in enumerate(zip(batch["phones"].tolist(), batch["frames"].tolist(), strict=True)):
            own = found.durations[row]
            assert (own[:phones] >= 1).all() and not own[phones:].any()
            place = np.repeat(np.arange(phones), own[:phones].numpy())
            assert np.array_equal(found.place[row, :frames].numpy(), place)
    timed = np.concatenate([objective.corpus.durations_of(objective.corpus.ids.index(i)) for i in batch["ids"]])
    kept = np.concatenate([found.durations[r, :n].numpy() for r, n in enumerate(batch["phones"].tolist())])
    assert (timed != kept).mean() < 0.1  # a phone without a frame took one of a neighbour's


def test_a_speaker_may_come_up_more_than_once_an_epoch(tiny_objective):
    plain = tiny_objective("vits", *SILENT).batches
    twice = tiny_objective("vits", *SILENT, "objective.speaker_repeats={slt: 2}").batches
    speaker = np.array(plain.corpus.speakers)[plain.corpus.speaker_of]
    assert sorted(twice.rows) == sorted([*plain.rows, *plain.rows[speaker[plain.rows] == "slt"]])
    assert np.array_equal(twice.held, plain.held)


def test_the_mean_is_learnt_where_the_mean_is_asked_for(tiny_objective):
    """A constant predictor of durations 1 and 4 ends at ln 2.5 with `mean`, at (ln 1 + ln 4) / 2 with `log`."""
    from types import SimpleNamespace

    durations, mask = torch.tensor([[1, 4]]), torch.ones(1, 1, 2)
    for target, want in (("mean", math.log(2.5)), ("log", math.log(4) / 2)):
        objective = tiny_objective("vits", *SILENT, f"objective.duration_target={target}")
        guess = torch.zeros(1, requires_grad=True)
        objective.model.stochastic = None
        del objective.model.deterministic
        objective.model.deterministic = lambda hidden, mask, heard, guess=guess: guess.expand(1, 1, 2)
        prior = SimpleNamespace(hidden=torch.zeros(1, 4, 2), mask=mask)
        found = SimpleNamespace(prior=prior, durations=durations)
        learner = torch.optim.SGD([guess], lr=0.3)
        for _ in range(200):
            learner.zero_grad()
            objective._durations(found, None, torch.Generator(), 0)["duration"].backward()
            learner.step()
        assert float(guess.detach()) == pytest.approx(want, abs=1e-3)


def test_settings_that_cannot_be_are_one_sentence(tiny_run, tmp_path):
    for sets, said in (
        (("objective.alignment=timing",), "unknown alignment 'timing'; did you mean 'timings'"),
        (("objective.alignment=timings",), "timings know nothing of blanks; set network.blank to false"),
        (("objective.crop=40",), "crop needs the timings of the phones"),
        (("objective.speaker_repeats={slr: 2}",), "speaker_repeats: unknown speaker 'slr'; did you mean 'slt'"),
        (("objective.speaker_repeats={slt: 0}",), "speaker_repeats has slt: 0; give 1 or more"),
        (("objective.duration_target=median",), "unknown duration_target 'median'"),
        (("network.speakers=[ann]",), r"none of its speakers \(rms, slt\) is one of network.speakers \(ann\)"),
        (("network.flow.kind=wave",), "unknown flow 'wave'"),
        (("network.decoder.hifigan.rates=[8, 8, 2, 4]",), "multiply to 512, but the hop is 256"),
    ):
        with pytest.raises(ValueError, match=said) as caught:
            make_trainer(tiny_run("vits", *sets, folder=tmp_path / "r"))
        assert "\n" not in str(caught.value)


def test_fine_tuning_maps_speakers_and_accents_by_name(tiny_run, tmp_path):
    import tinycorpus

    accents = ("network.accents=[scots, us]", "network.accent_of={rms: scots, slt: us}")
    make_trainer(tiny_run("vits", *accents, "trainer.samples=false", folder=tmp_path / "a")).run(stop_at=1)
    source = checkpoint.read(tmp_path / "a" / "checkpoint")
    manifest = tinycorpus.write(tmp_path / "other", 4, ("awb", "slt"))
    said = []
    sets = (f"manifest={manifest}", f"init_from={tmp_path / 'a' / 'checkpoint'}", "trainer.samples=false",
            "network.accents=[us, irish]", "network.accent_of={slt: us, awb: irish}")  # fmt: skip
    trainer = make_trainer(tiny_run("vits", *sets, folder=tmp_path / "b"), tell=said.append)
    state = trainer.objective.model.state_dict()
    assert trainer.objective.config.speakers == ("awb", "slt")
    assert torch.equal(state["speakers.weight"][1], source.tensors["speakers.weight"][1])
    assert not torch.equal(state["speakers.weight"][0], source.tensors["speakers.weight"][0])
    assert torch.equal(state["accents.weight"][0], source.tensors["accents.weight"][1])
    assert torch.equal(state["text.symbols.weight"], source.tensors["text.symbols.weight"])
    assert "mapped by name: speakers.weight: 1 (slt); fresh: 1 (awb)" in said[0]
    assert "accents.weight: 1 (us); fresh: 1 (irish)" in said[0] and "  fresh: none" in said[0]
    trainer.run(stop_at=1)
    meta = checkpoint.read_meta(tmp_path / "b" / "checkpoint")
    assert meta["names"]["speakers"] == ["awb", "slt"] and meta["stage"] == "vits"


def test_memory_is_told_with_the_sound_and_the_discriminators(tiny_objective):
    """What is measured on two items is what the fullest batch keeps, with its sound, and nothing has learnt from it."""
    from stages.training.config import TrainerConfig
    from stages.training.memory import _Kept

    objective = tiny_objective("vits")
    sizes = [len(objective.batch(n)["ids"]) for n in range(30)]
    assert sizes[objective.heaviest()] == max(sizes) == objective.judged()[0] and objective.judged()[1] == 8
    with _Kept(objective.model) as counter:
        losses = objective.losses(objective.batch(objective.heaviest()), torch.Generator().manual_seed(0), -1)
    assert "mel" in losses and "adversarial" not in losses
    assert activations(objective) == pytest.approx(counter.total(False), rel=0.25)
    silent = tiny_objective("vits", *SILENT, "objective.sound_from=1000000")
    assert activations(silent) < 0.8 * activations(objective)
    told = estimate(objective, TrainerConfig())
    assert told.adversary > 0 and estimate(silent, TrainerConfig()).adversary == 0
    assert all(p.grad is None for p in objective.model.parameters())
    assert all(p.grad is None for p in objective.adversary().parameters())


def test_half_precision_trains(tiny_run, tmp_path):
    for kind in ("bfloat16", "float16"):
        sets = (f"trainer.precision={kind}", "trainer.steps=1", "trainer.log_every=1", "trainer.samples=false",
                "objective.positions=300")  # fmt: skip
        make_trainer(tiny_run("vits", *sets, folder=tmp_path / kind)).run()
        row = rows_of(tmp_path / kind)[0]
        assert all(math.isfinite(v) for k, v in row.items() if isinstance(v, float) and not k.endswith("_grad"))


def test_a_text_without_phones_or_too_long_for_its_sound_is_one_sentence(tiny_run, tmp_path, tiny_manifest):
    rows = [json.loads(line) for line in tiny_manifest.read_text().splitlines()][:4]
    for row in rows:
        row["audio"] = str(tiny_manifest.parent / row["audio"])
    for phones, sets, said in (
        ([], (), "has 0 symbols in [0-9]+ frames, .* prepare the corpus with an aligner"),
        (rows[2]["phones"] * 3, (), "has [0-9]+ symbols in .*1 of 4 utter.* set network.blank=false or take a smaller"),
        (rows[2]["phones"] * 9, TIMED, r"per_second or take a smaller audio.hop"),
    ):
        faulty = [row | ({"phones": phones} if i == 2 else {}) for i, row in enumerate(rows)]
        manifest = tmp_path / "manifest.jsonl"
        manifest.write_text("".join(json.dumps(row) + "\n" for row in faulty))
        with pytest.raises(ConfigError, match=said) as caught:
            make_trainer(tiny_run("vits", *sets, f"manifest={manifest}"))
        assert "\n" not in str(caught.value) and rows[2]["id"] in str(caught.value)


@pytest.mark.slow
def test_the_search_finds_the_phones_by_itself(tiny_run, tmp_path):
    """Untaught, but by what the frames sound like: its boundaries come within a frame or two of the true ones."""
    sets = ("network.blank=false", "network.posterior={input: mel, width: 64, layers: 3}", "network.hidden=64",
            "network.channels=32", "network.flow={width: 64, layers: 2}", "objective.search_noise=0.01",
            "network.decoder={kind: source_filter, envelope: {width: 64, depth: 2}}", "objective.sound_from=1000000",
            "trainer.steps=300", "trainer.lr=2e-3", "trainer.schedule=constant", "trainer.ema=0", *SILENT)  # fmt: skip
    trainer = make_trainer(tiny_run("vits", *sets, folder=tmp_path / "r"))
    objective, late = trainer.objective, []
    for steps in (0, 300):
        if steps:
            trainer.run()
        objective.model.eval()
        batch = objective.batches.held_batch(0)
        condition = objective.model.condition(batch["speakers"], batch["accents"])
        with torch.no_grad():
            found = objective._align(batch, condition, torch.Generator().manual_seed(0), 10**6)
        late.append((found.durations.cumsum(1) - batch["durations"].cumsum(1)).abs().float().mean())
    assert late[1] < 1.5 and late[1] < 0.3 * late[0], late


@pytest.mark.parametrize(("data", "train"), [("ljspeech-22k", "vits"), ("melotts-44k", "melo")])
def test_data_configs_make_what_the_large_ones_train_on(data, train):
    job, run = prepare.read_job(ROOT / f"configs/data/{data}.yaml"), read_run(ROOT / f"configs/train/vits/{train}.yaml")
    assert job.config.audio == run.audio and job.config.clean.sample_rate == run.audio.sample_rate
    assert run.manifest == f"{job.config.out}/manifest.jsonl"


def test_melotts_lines_are_prepared_trained_on_and_spoken(tiny_run, tmp_path):
    """Its metadata.list and its .cleaned form, with sounds of the named voices at other levels."""
    from stages.core.audio import read_audio, write_audio
    from stages.core.types import Phonemes, Voice, Word
    from stages.vits.config import VitsConfig
    from stages.vits.stage import VitsStage

    lines = []
    for name in ("rms", "slt"):
        samples = read_audio(ROOT / f"artifacts/voices/{name}/clip.flac", 16000)
        for n, gain in enumerate((0.9, 0.6)):
            write_audio(tmp_path / f"{name}{n}.wav", samples * gain, 16000)
            cleaned = "|_ DH AH _|0 0 1 0|1 2 1" if n else ""
            lines.append(f"{name}{n}.wav|EN-{name}|EN|{SAID}{cleaned}")
    (tmp_path / "metadata.list").write_text("\n".join(lines) + "\n")
    sets = [f"path={tmp_path}/metadata.list", f"out={tmp_path}/data", "workers=1", "clean.duplicate_texts=false"]
    assert prepare.main([str(ROOT / "configs/data/melotts.yaml"), *sets]) == prepare.ALL_OK
    run = tiny_run("vits", f"manifest={tmp_path}/data/manifest.jsonl", "trainer.steps=2", folder=tmp_path / "run")
    trainer = make_trainer(run)
    assert trainer.objective.config.speakers == ("EN-rms", "EN-slt")
    trainer.run()
    config = VitsConfig(checkpoint=str(tmp_path / "run" / "checkpoint"), speaker="EN-slt")
    phones = ("hh", "ax", "l", "ow")
    phonemes = Phonemes("Hello", (Word("hello", phones),), ("pau", *phones, "pau"))
    voice = Voice("x", None, "none", "0" * 64)
    sound = VitsStage.load(config, "cpu").run([{Phonemes: phonemes, Voice: voice}], seeds=[1])[0]
    assert sound.sample_rate == 16000 and len(sound.samples) >= 13 * 256 and np.isfinite(sound.samples).all()
