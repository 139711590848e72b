"""Predicted mels: frame for frame beside the true ones, by the diffusion stage itself, computed once and resumable."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.core import checkpoint
from stages.core.checkpoint import CheckpointError
from stages.core.config import ConfigError
from stages.core.seeding import item_seed
from stages.core.types import RankedCodes, SpeechCodes, Voice
from stages.data import predicted
from stages.data.batching import held_out
from stages.data.codes import code_phones, read_codes
from stages.data.predicted import PredictedConfig, chosen, read_predicted, speaker_voices
from stages.diffusion.config import DiffusionConfig
from stages.diffusion.stage import DiffusionStage
from stages.training.run import make_trainer


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Features of its own: the cache lies beside them."""
    import tinycorpus

    from stages.core.audio import AudioSpec
    from stages.data.features import build_features, load_features

    return load_features(build_features(tinycorpus.write(tmp_path_factory.mktemp("own"), 8), AudioSpec()))


@pytest.fixture
def config(tiny_run, tiny_codes, tmp_path):
    """A tiny diffusion with phones, trained for a step, and two solver steps."""
    make_trainer(tiny_run("diffusion", "network.phones=42", "objective.moves=2", folder=tmp_path / "d")).run(stop_at=1)
    return PredictedConfig(str(tiny_codes), DiffusionConfig(str(tmp_path / "d" / "checkpoint"), steps=2), 6)


def test_mels_lie_frame_for_frame_and_are_the_stages_own(config, corpus):
    seen = []
    made = read_predicted(config, corpus, lambda *counts: seen.append(counts))
    assert seen == [(6, 6)] and made.mel.dtype == np.float16 and np.isfinite(made.mel).all()
    assert [len(made.of(i)) for i in made.rows] == corpus.lengths[made.rows].tolist()
    held = held_out(corpus.ids)[made.rows]
    assert held.any() and not held.all()
    i = int(made.rows[3])
    codes = read_codes(config.codes, corpus)
    spoken = SpeechCodes(codes.of(i), codes.codebook, code_phones(corpus, i, codes.stride, 2))
    seed = item_seed(0, "predicted", corpus.ids[i])
    clips = speaker_voices(corpus)[int(corpus.speaker_of[i])]
    assert {clip.name.split("-")[0] for clip in clips} == {corpus.speakers[corpus.speaker_of[i]]}
    stage = DiffusionStage.load(config.diffusion, "cpu")
    mel = stage.run([{RankedCodes: RankedCodes(spoken, 0), Voice: clips[seed % len(clips)]}], seeds=[seed])[0]
    assert np.array_equal(made.of(i), mel.frames[: corpus.lengths[i]].astype(np.float16))
    with pytest.raises(KeyError):
        made.of(next(i for i in range(len(corpus)) if i not in made.rows))


def test_computed_once_and_on_after_an_interruption(config, corpus, monkeypatch):
    config = replace(config, utterances=0)
    monkeypatch.setattr(predicted, "CHUNK", 2)
    predict = predicted._predictor

    def fails_after(calls):
        def make(*arguments):
            one, left = predict(*arguments), [calls]

            def run(rows):
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
                return one(rows)

            return run

        return make

    monkeypatch.setattr(predicted, "_predictor", fails_after(3))
    with pytest.raises(KeyboardInterrupt):
        read_predicted(config, corpus)
    partial = next(corpus.folder.glob("*.partial.f16"))
    with open(partial, "ab") as file:
        file.write(b"half an utterance")
    monkeypatch.setattr(predicted, "_predictor", fails_after(99))
    seen = []
    made = read_predicted(config, corpus, lambda *counts: seen.append(counts))
    assert seen[0] == (8, 16) and len(made.rows) == 16 and not partial.exists()  # six were done
    monkeypatch.setattr(predicted, "_predictor", fails_after(0))
    assert np.array_equal(read_predicted(config, corpus).mel, made.mel)
    whole = made.mel.copy()
    next(corpus.folder.glob(f"predicted-{made.key[:16]}.f16")).unlink()
    monkeypatch.setattr(predicted, "_predictor", fails_after(99))
    assert np.array_equal(read_predicted(config, corpus).mel, whole)


def test_another_sampler_or_diffusion_is_another_file(config, corpus, tmp_path):
    first = read_predicted(config, corpus)
    other = read_predicted(replace(config, diffusion=replace(config.diffusion, steps=1)), corpus)
    assert first.key != other.key and not np.array_equal(first.mel, other.mel)
    found = checkpoint.read(config.diffusion.checkpoint)
    tensors = {k: v + 0.1 if k == "outputs.bias" else v for k, v in found.tensors.items()}
    checkpoint.write(tmp_path / "e", tensors, found.config, found.meta)
    moved = replace(config, diffusion=replace(config.diffusion, checkpoint=str(tmp_path / "e")))
    assert read_predicted(moved, corpus).key not in (first.key, other.key)


def test_what_does_not_fit_is_one_sentence(config, corpus, tmp_path):
    found = checkpoint.read(config.diffusion.checkpoint)
    checkpoint.write(tmp_path / "e", found.tensors, found.config, {**found.meta, "codebook": "0" * 64})
    checkpoint.write(tmp_path / "f", found.tensors, found.config, {**found.meta, "audio": "0" * 64})
    at = lambda name: replace(config, diffusion=replace(config.diffusion, checkpoint=str(tmp_path / name)))  # noqa: E731
    with pytest.raises(CheckpointError, match="codes of another tokenizer"):
        read_predicted(at("e"), corpus)
    with pytest.raises(ConfigError, match="AudioSpec is not the corpus's"):
        read_predicted(at("f"), corpus)
    with pytest.raises(CheckpointError, match="no checkpoint there"):
        read_predicted(at("g"), corpus)
    with pytest.raises(ValueError, match="at least 2"):
        PredictedConfig(utterances=1)
    made = read_predicted(config, corpus)
    path = corpus.folder / f"predicted-{made.key[:16]}.f16"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ConfigError, match="delete it and run again"):
        read_predicted(config, corpus)
    path.unlink()


def test_chosen_utterances_are_spread_with_held_out_ones():
    ids = [f"a-{(0 if i % 100 == 0 else 0xF0000000) + i:08x}" for i in range(1000)]
    rows = chosen(ids, 100)
    assert len(rows) == 100 and (np.diff(rows) > 0).all() and held_out(ids)[rows].sum() == 2
    assert np.array_equal(chosen(ids, 0), np.arange(1000)) and np.array_equal(chosen(ids, 5000), np.arange(1000))


def test_a_vocoder_hears_predicted_mels_and_owes_the_true_sound(tiny_run, config, tiny_corpus):
    sets = ("objective.mels=predicted", f"objective.predicted.codes={config.codes}", "objective.predicted.utterances=8",
            f"objective.predicted.diffusion.checkpoint={config.diffusion.checkpoint}")  # fmt: skip
    objective = make_trainer(tiny_run("vocoder", *sets)).objective
    made = objective.predicted
    truth = make_trainer(tiny_run("vocoder")).objective
    assert set(tiny_corpus.ids[i] for i in made.rows) >= {i for n in range(9) for i in objective.batch(n)["ids"]}
    batch = objective.batch(0)
    assert batch["heard"].shape == batch["mel"].shape and not torch.allclose(batch["heard"], batch["mel"])
    i = tiny_corpus.ids.index(batch["ids"][0])
    frames = torch.from_numpy(made.of(i).astype(np.float32))
    first = batch["heard"][0, 0]
    assert (frames == first).all(1).any()  # a frame of that utterance's own
    assert truth.batch(0)["heard"] is not None and torch.equal(truth.batch(0)["heard"], truth.batch(0)["mel"])
    losses = objective.losses(batch, torch.Generator().manual_seed(0), 0)
    assert all(torch.isfinite(v) for v in losses.values())
    assert objective.meta()["predicted_mels"] == made.key and "predicted_mels" not in truth.meta()
    with pytest.raises(ConfigError, match="unknown mels 'predictd'; did you mean 'predicted'"):
        make_trainer(tiny_run("vocoder", "objective.mels=predictd"))
