"""What every stage owes: a batch of 3 = 3 batches of 1, same seed same result, clear errors for what does not fit."""

import numpy as np
import pytest
import tinyvits
import torch

from stages.autoregressive.config import AutoregressiveConfig
from stages.autoregressive.model import AutoregressiveDecoder, AutoregressiveModelConfig
from stages.autoregressive.stage import AutoregressiveStage
from stages.core import checkpoint, symbols
from stages.core.audio import AudioError, AudioSpec
from stages.core.config import ConfigError
from stages.core.types import Audio, Candidate, Candidates, Mel, Phonemes, Pick, RankedCodes, SpeechCodes, Voice, Word
from stages.diffusion.config import DiffusionConfig
from stages.diffusion.model import DiffusionModelConfig, DiffusionNetwork, PriorConfig
from stages.diffusion.stage import DiffusionStage
from stages.nn.source_filter import SourceFilterConfig
from stages.rerank.config import RerankConfig
from stages.rerank.model import RerankModelConfig, RerankTowers
from stages.rerank.stage import RerankStage
from stages.vits.config import VitsConfig
from stages.vits.stage import VitsStage
from stages.vocoder.config import VocoderConfig
from stages.vocoder.model import Vocoder, VocoderModelConfig
from stages.vocoder.stage import VocoderStage

SPEC = AudioSpec()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tiny checkpoints of every stage with fixed weights."""
    root = tmp_path_factory.mktemp("tiny")
    models = {
        "autoregressive": (
            AutoregressiveDecoder,
            AutoregressiveModelConfig(codes=40, width=32, depth=1, heads=2, conditioning_width=32),
        ),
        "rerank": (
            RerankTowers,
            RerankModelConfig(levels=(8, 5), phone_width=16, width=32, layers=1, heads=2, embedding=16),
        ),
        "diffusion": (
            DiffusionNetwork,
            DiffusionModelConfig(
                prior=PriorConfig(width=16, depth=1, levels=(8, 5), voice_width=16), width=32, depth=1
            ),
        ),
        "vocoder": (Vocoder, VocoderModelConfig(source_filter=SourceFilterConfig(width=16, depth=1, pitch_width=16))),
    }
    for name, (cls, config) in models.items():
        torch.manual_seed(1)
        meta = {"stage": name, "symbols": symbols.DIGEST, "audio": SPEC.digest, "codebook": "book"}
        model = cls(config)
        for value in model.parameters():  # zero-initialised outputs would hide everything
            if value.abs().sum() == 0:
                torch.nn.init.normal_(value, std=0.1)
        checkpoint.write(root / name, model.state_dict(), config, meta)
    return root


def voice(seed=0, rate=16000):
    samples = np.random.default_rng(seed).normal(0, 0.1, rate).astype(np.float32)
    return Voice(f"v{seed}", Audio(samples, rate), "none", f"digest{seed}")


def phonemes(*phones):
    return Phonemes("t", (Word("t", phones),), ("pau", *phones, "pau"))


ITEMS = [phonemes("hh", "ax", "l", "ow"), phonemes("b", "ay"), phonemes("s", "t", "aa", "p", "ih", "t")]


def codes(n, seed):
    return SpeechCodes(np.random.default_rng(seed).integers(0, 40, n), "book")


def test_autoregressive(folder):
    stage = AutoregressiveStage.load(AutoregressiveConfig(checkpoint=str(folder / "autoregressive")), "cpu")
    items = [{Phonemes: p, Voice: voice(i)} for i, p in enumerate(ITEMS)]
    together = stage.run(items, seeds=[[1, 2], [3, 4], [5, 6]])
    alone = [stage.run([item], seeds=[s])[0] for item, s in zip(items, [[1, 2], [3, 4], [5, 6]], strict=True)]
    for a, b in zip(sum(together, []), sum(alone, []), strict=True):
        assert (
            a.codes.codes.tolist() == b.codes.codes.tolist() and a.log_prob == b.log_prob and a.codes.codebook == "book"
        )


def test_rerank_prefers_and_reports_every_score(folder):
    stage = RerankStage.load(RerankConfig(checkpoint=str(folder / "rerank")), "cpu")
    rows = Candidates(
        (Candidate(codes(9, 1), 1, -2.0, ("loop",)), Candidate(codes(14, 2), 2, -2.0), Candidate(codes(9, 1), 3, -2.0))
    )
    ranked = stage.run([{Phonemes: ITEMS[0], Candidates: rows}], seeds=[0])[0]
    assert ranked.chosen in (1, 2)  # a fault outweighs the rest
    assert set(ranked.scores) == {"clip", "phones", "log_prob", "faults", "total"}
    assert all(len(v) == 3 for v in ranked.scores.values())
    assert ranked.scores["clip"][0] == pytest.approx(ranked.scores["clip"][2], abs=1e-5)
    picked = stage.run([{Phonemes: ITEMS[0], Candidates: rows, Pick: Pick(0)}], seeds=[0])[0]
    assert picked.chosen == 0 and picked.scores == ranked.scores and picked.faults == ("loop",)


def test_diffusion_and_vocoder(folder):
    stage = DiffusionStage.load(DiffusionConfig(checkpoint=str(folder / "diffusion"), steps=2, guidance=2.0), "cpu")
    items = [{RankedCodes: RankedCodes(codes(n, n), 0), Voice: voice()} for n in (5, 9, 2)]
    mels = stage.run(items, seeds=[1, 2, 3])
    assert [m.frames.shape for m in mels] == [(10, 80), (18, 80), (4, 80)]
    for item, seed, mel in zip(items, [1, 2, 3], mels, strict=True):
        assert np.array_equal(stage.run([item], seeds=[seed])[0].frames, mel.frames)
    assert not np.array_equal(stage.run([items[0]], seeds=[9])[0].frames, mels[0].frames)
    vocoder = VocoderStage.load(VocoderConfig(checkpoint=str(folder / "vocoder")), "cpu")
    sounds = vocoder.run([{Mel: m} for m in mels], seeds=[0, 0, 0])
    assert [len(s.samples) for s in sounds] == [10 * 256, 18 * 256, 4 * 256]
    assert np.array_equal(vocoder.run([{Mel: mels[1]}], seeds=[0])[0].samples, sounds[1].samples)
    with pytest.raises(checkpoint.CheckpointError, match="another mel"):
        vocoder.run([{Mel: Mel(mels[0].frames, "other")}], seeds=[0])


@pytest.mark.parametrize("decoder", [tinyvits.SMALL["decoder"], tinyvits.NOISY], ids=["hifigan", "source_filter"])
def test_vits(tmp_path, decoder):
    stage = VitsStage.load(VitsConfig(str(tinyvits.write(tmp_path / "vits", decoder=decoder, speakers=[]))), "cpu")
    items = [{Phonemes: p, Voice: voice(i)} for i, p in enumerate(ITEMS)]
    together = stage.run(items, seeds=[1, 2, 3])
    alone = [stage.run([item], seeds=[seed])[0] for item, seed in zip(items, [1, 2, 3], strict=True)]
    assert [a.samples.tobytes() for a in together] == [a.samples.tobytes() for a in alone]
    assert stage.run([items[0]], seeds=[9])[0].samples.tobytes() != alone[0].samples.tobytes()


def test_what_does_not_fit_is_refused(folder, tmp_path):
    stage = DiffusionStage.load(DiffusionConfig(checkpoint=str(folder / "diffusion")), "cpu")
    with pytest.raises(checkpoint.CheckpointError, match="another tokenizer"):
        stage.run([{RankedCodes: RankedCodes(SpeechCodes(np.arange(4), "other book"), 0), Voice: voice()}], seeds=[1])
    with pytest.raises(AudioError, match="8000 Hz"):
        stage.run([{RankedCodes: RankedCodes(codes(4, 1), 0), Voice: voice(rate=8000)}], seeds=[1])
    with pytest.raises(ConfigError, match="did you mean 'euler'"):
        DiffusionStage.load(DiffusionConfig(checkpoint=str(folder / "diffusion"), sampler="eular"), "cpu")
    with pytest.raises(ConfigError, match="did you mean 'clip'"):
        RerankStage.load(RerankConfig(checkpoint=str(folder / "rerank"), judges={"clap": 1.0}), "cpu")
    with pytest.raises(checkpoint.CheckpointError, match="not of 'vocoder'"):
        VocoderStage.load(VocoderConfig(checkpoint=str(folder / "diffusion")), "cpu")
    with pytest.raises(checkpoint.CheckpointError, match="no checkpoint there"):
        VocoderStage.load(VocoderConfig(checkpoint=str(tmp_path / "nowhere")), "cpu")


def test_damaged_checkpoints_name_the_file(folder, tmp_path):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(folder / "vocoder", broken)
    whole = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(checkpoint.CheckpointError, match=r"model\.safetensors: cannot be read"):
        VocoderStage.load(VocoderConfig(checkpoint=str(broken)), "cpu")
    (broken / "model.safetensors").write_bytes(whole)
    (broken / "config.yaml").write_text("source_filter: {width: 24}")
    with pytest.raises(checkpoint.CheckpointError, match="do not fit"):
        VocoderStage.load(VocoderConfig(checkpoint=str(broken)), "cpu")


def test_half_precision_release_loads(folder, tmp_path):
    found = checkpoint.read(folder / "vocoder")
    checkpoint.write(tmp_path / "half", found.tensors, found.config, found.meta, half=True)
    stage = VocoderStage.load(VocoderConfig(checkpoint=str(tmp_path / "half")), "cpu")
    assert next(stage.model.parameters()).dtype == torch.float32
