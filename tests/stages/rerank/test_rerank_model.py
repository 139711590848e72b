"""The towers: padding is nothing, they learn to tell texts apart, and open_clip stays importable."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from stages.core import checkpoint
from stages.rerank.model import RerankModelConfig, RerankTowers
from stages.rerank.objective import damage

TINY = RerankModelConfig(levels=(6, 6), phone_width=16, width=32, layers=2, heads=2, embedding=16)


@pytest.fixture
def towers():
    torch.manual_seed(0)
    return RerankTowers(TINY).eval()


@torch.no_grad()
@pytest.mark.parametrize("padding", [1, 7, 200])
def test_padding_changes_nothing(towers, padding):
    phones, codes = torch.randint(1, 42, (2, 11)), torch.randint(0, 36, (2, 30))
    wide = torch.nn.functional.pad(phones, (0, padding)), torch.nn.functional.pad(codes, (0, padding), value=-1)
    torch.testing.assert_close(towers.embed_text(wide[0]), towers.embed_text(phones), rtol=0, atol=1e-5)
    torch.testing.assert_close(towers.embed_speech(wide[1]), towers.embed_speech(codes), rtol=0, atol=1e-5)


@torch.no_grad()
def test_unit_vectors_that_know_their_input(towers):
    codes = torch.randint(0, 36, (4, 30))
    out = towers.embed_speech(codes)
    torch.testing.assert_close(out.norm(dim=-1), torch.ones(4))
    assert not torch.allclose(out[0], out[1], atol=1e-4) and float(towers.scale) == pytest.approx(1 / 0.07, rel=1e-2)


def test_too_long_is_one_sentence(towers):
    with pytest.raises(ValueError, match="513 phones are more than the 512"):
        towers.embed_text(torch.ones(1, 513, dtype=torch.long))


def test_the_light_import_leaves_open_clip_whole():
    code = (
        "import sys\nfrom stages.rerank.model import text_transformer\ntower = text_transformer()\n"
        "assert 'timm' not in sys.modules and 'transformers' not in sys.modules, 'heavy'\n"
        "import open_clip\nassert open_clip.create_model and open_clip.__file__\n"
        "from open_clip.loss import ClipLoss\nassert text_transformer()\nprint('whole')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=600)
    assert done.stdout == "whole\n", done.stderr[-2000:]


def test_overfits_one_batch(tiny_objective, overfit):
    first, last = overfit(tiny_objective("rerank", "objective.positions=800"), steps=80)
    assert last < 0.6 * first


@pytest.mark.parametrize("seed", range(20))
def test_damage_always_leaves_codes_that_differ(seed):
    rng = np.random.default_rng(seed)
    codes, other = np.arange(30), np.arange(100, 125)
    out = damage(codes, other, 36, rng)
    assert len(out) >= 2 and not np.array_equal(out, codes)


@torch.no_grad()
def test_saved_and_loaded_gives_the_same_scores(towers, tmp_path):
    checkpoint.write(tmp_path / "c", towers.state_dict(), TINY, {"stage": "rerank"})
    found = checkpoint.read(tmp_path / "c", "rerank")
    again = RerankTowers(checkpoint.model_config(found, RerankModelConfig)).eval()
    checkpoint.load_strict(again, found)
    codes = torch.randint(0, 36, (3, 20))
    assert torch.equal(towers.embed_speech(codes), again.embed_speech(codes))
