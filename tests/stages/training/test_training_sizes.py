"""The sizes and AudioSpecs that come with the project: every config builds its model, here without its memory."""

from pathlib import Path

import pytest

from stages.core.audio import AudioSpec
from stages.core.config import build, load, read_yaml
from stages.training import dag
from stages.training.run import OBJECTIVES, TrainingRun, _load, network_config, read_run

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = ROOT / "configs" / "train"
MILLIONS = {
    "8gb": {"codes": 16.21, "autoregressive": 49.72, "rerank": 32.61, "diffusion": 23.53, "vocoder": 0.95},
    "tortoise": {"codes": 24.16, "autoregressive": 422.47, "rerank": 292.66, "diffusion": 93.69, "vocoder": 14.01},
}
"""parameters of each size, counted: a change of them is a change of the size"""


def on_meta(run):
    """The model of a run, without weights."""
    import importlib

    import torch

    module = importlib.import_module(OBJECTIVES[run.model][1].split(":")[0])
    classes = {"codes": "SpeechTokenizer", "autoregressive": "AutoregressiveDecoder", "rerank": "RerankTowers",
               "diffusion": "DiffusionNetwork", "vocoder": "Vocoder", "vits": "Vits"}  # fmt: skip
    with torch.device("meta"):
        return getattr(module, classes[run.model])(network_config(run))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_training_config_is_whole(path):
    run = read_run(path)
    build(_load(OBJECTIVES[run.model][2]), run.objective, str(path))
    assert set(Path(run.folder).parts[-2:]) == {path.parent.name, path.stem}
    assert len(path.read_text().splitlines()) <= 30
    assert 0 < sum(p.numel() for p in on_meta(run).parameters())


@pytest.mark.parametrize("size", MILLIONS)
def test_parameter_counts(size):
    counts = {}
    for name in MILLIONS[size]:
        model = on_meta(read_run(CONFIGS / size / f"{name}.yaml"))
        counts[name] = sum(p.numel() for p in model.parameters()) / 1e6
    print(size, {k: round(v, 2) for k, v in counts.items()})
    assert counts == pytest.approx(MILLIONS[size], rel=0.01)


def test_vits_has_the_sizes_of_its_papers():
    """VITS is known to have 36 M; the rest of the larger one is mostly its transformer flow."""
    sets = ["network.speakers=[a, b]"]
    counts = {
        name: sum(p.numel() for p in on_meta(read_run(CONFIGS / "vits" / f"{name}.yaml", own)).parameters()) / 1e6
        for name, own in (("vits", []), ("melo", sets))
    }
    assert counts == pytest.approx({"vits": 36.30, "melo": 51.43}, rel=0.01)


@pytest.mark.parametrize("size", [*MILLIONS, "starter"])
def test_a_size_hangs_together(size):
    """One AudioSpec, one codebook; what reads a tokenizer has its sizes."""
    runs = {n.name: n.run for n in dag.read(dag.find([str(CONFIGS / size)]))}
    assert len({run.audio.digest for run in runs.values()}) == 1 and next(reversed(runs)) == "vocoder-predicted"
    tokenizer = network_config(runs["codes"])
    codes = 1
    for level in tokenizer.levels:
        codes *= level
    assert network_config(runs["autoregressive"]).codes == codes == network_config(runs["rerank"]).codes
    assert network_config(runs["rerank"]).phone_width == tokenizer.width


@pytest.mark.parametrize("path", sorted((ROOT / "configs/audio").glob("*.yaml")), ids=lambda p: p.stem)
@pytest.mark.parametrize("generator", ["source_filter", "hifigan"])
def test_every_audio_spec_takes_every_model(path, generator, tmp_path):
    import torch

    rates = "{rates: [8, 8, 4, 2], kernels: [16, 16, 8, 4], channels: 32}" if path.stem == "44k" else "{channels: 32}"
    for model in OBJECTIVES:
        config = CONFIGS / ("vits/starter.yaml" if model == "vits" else f"starter/{model}.yaml")
        text = f"base: [{path}, {config}]\n"
        if model == "vocoder":
            text += f"network: {{generator: {generator}, hifigan: {rates}}}\n"
        if model == "vits":
            text += f"network: {{decoder: {{kind: {generator}, hifigan: {rates}}}}}\n"
        (tmp_path / "run.yaml").write_text(text)
        run = read_run(tmp_path / "run.yaml")
        spec = AudioSpec(**read_yaml(path)["audio"])
        assert run.audio == spec and spec.fmax <= spec.sample_rate / 2
        network = on_meta(run)
        if model == "vocoder" and generator == "hifigan":
            mel = torch.empty(1, spec.n_mels, 8, device="meta")
            assert network.generator(mel).shape == (1, 8 * spec.hop)
        if model == "vits" and generator == "hifigan":
            z = torch.empty(1, network.config.channels, 8, device="meta")
            assert network.decoder(z).shape == (1, 8 * spec.hop)


def test_a_config_may_lie_on_several_bases(tmp_path):
    for name, text in {"a": "model: codes\nfolder: x\ntrainer: {steps: 3, lr: 0.5}", "b": "trainer: {steps: 4}",
                       "c": "base: [a.yaml, b.yaml]\nfolder: y"}.items():  # fmt: skip
        (tmp_path / f"{name}.yaml").write_text(text)
    run = load(TrainingRun, tmp_path / "c.yaml")
    assert (run.folder, run.trainer.steps, run.trainer.lr) == ("y", 4, 0.5)
