"""The tokenizer: lengths, learning, and the same codes after saving and loading."""

import sys

import pytest
import torch

from stages.codes.model import CodesModelConfig, SpeechTokenizer
from stages.core import checkpoint

TINY = CodesModelConfig(width=32, depth=1, levels=(4, 3, 3), voice_width=32)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SpeechTokenizer(TINY).eval()


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 3, 31])
def test_lengths(model, frames):
    codes = model.encode(torch.randn(2, frames, 80))
    assert codes.shape == (2, -(-frames // 2)) and codes.dtype == torch.int64
    assert 0 <= codes.min() and codes.max() < model.quantizer.size
    mel = model.decode(model.quantizer.decode(codes), torch.randn(2, 40, 80))
    assert mel.shape == (2, 2 * codes.shape[1], 80)
    assert model.phone_logits(model.quantizer.decode(codes)).shape == (*codes.shape, 42)


@torch.no_grad()
def test_rows_do_not_see_each_other(model):
    mel = torch.randn(3, 20, 80)
    assert torch.equal(model.encode(mel), torch.cat([model.encode(row[None]) for row in mel]))


def test_overfits_one_batch(tiny_objective, overfit):
    first, last = overfit(tiny_objective("codes"), steps=80)
    assert last < 0.6 * first


def test_saved_and_loaded_gives_the_same_codes(model, tmp_path):
    checkpoint.write(tmp_path / "c", model.state_dict(), TINY, {"stage": "codes"})
    found = checkpoint.read(tmp_path / "c", "codes")
    again = SpeechTokenizer(checkpoint.model_config(found, CodesModelConfig)).eval()
    checkpoint.load_strict(again, found)
    mel = torch.randn(2, 24, 80)
    assert torch.equal(model.encode(mel), again.encode(mel))
    with pytest.raises(checkpoint.CheckpointError, match="is a checkpoint of 'codes'"):
        checkpoint.read(tmp_path / "c", "vocoder")


def test_objective_labels_padding_as_pause(tiny_objective):
    batch = tiny_objective("codes", "objective.frames=256").batch(0)
    assert batch["mel"].shape == (4, 256, 80) and batch["phones"].shape == (4, 128)
    silent = batch["mel"][:, -1].mean(-1) < -2.5
    assert silent.any() and (batch["phones"][silent, -1] == 1).all()


def test_encodec_says_how_to_get_it(monkeypatch):
    from stages.codes.encodec import EncodecAdapter
    from stages.core.config import ConfigError

    monkeypatch.setitem(sys.modules, "encodec", None)
    with pytest.raises(ConfigError, match="uv sync --extra encodec"):
        EncodecAdapter()
