"""Releasing: float16 weights, no machine paths, one identity of the tokenizer, refusals."""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file

from stages.core import checkpoint
from stages.core.config import to_plain
from stages.data.codes import codebook_of
from stages.training import release
from stages.training.run import make_trainer


@pytest.fixture
def trained(tiny_run, tiny_manifest, tmp_path):
    """A folder of configs of a finished tokenizer and a finished rerank on its codes."""
    (tiny_manifest.parent / "texts.sha256").write_text("0123456789abcdef\n")
    configs = tmp_path / "configs"
    configs.mkdir()
    for model, sets in (("codes", []), ("rerank", [f"objective.codes={tmp_path}/codes/checkpoint"])):
        run = tiny_run(model, *sets, "trainer.steps=2")
        make_trainer(run).run()
        (configs / f"{model}.yaml").write_text(yaml.safe_dump(to_plain(run)))
    return configs


def test_released_models_belong_together(trained, tmp_path, capsys):
    out = tmp_path / "starter"
    assert release.main([str(trained), "--out", str(out)]) == 0
    assert "of the codes" in capsys.readouterr().out
    identity = checkpoint.checkpoint_digest(tmp_path / "codes" / "checkpoint")
    assert (
        {checkpoint.read_meta(out / m)["codebook"] for m in ("codes", "rerank")}
        == {identity}
        == {codebook_of(out / "codes")}
    )
    assert (out / "texts.sha256").read_text() == "0123456789abcdef\n"
    for model in ("codes", "rerank"):
        stored, trained_weights = (
            load_file(out / model / "model.safetensors"),
            checkpoint.read(tmp_path / model / "checkpoint").tensors,
        )
        assert {v.dtype for v in stored.values() if v.is_floating_point()} == {torch.float16}
        assert all(
            torch.allclose(stored[k].float(), v, rtol=1e-3, atol=1e-6)
            for k, v in trained_weights.items()
            if v.is_floating_point()
        )
        meta = json.dumps(checkpoint.read_meta(out / model))
        assert str(tmp_path) not in meta and "manifest" not in meta
        assert (out / model / "config.yaml").read_bytes() == (
            tmp_path / model / "checkpoint" / "config.yaml"
        ).read_bytes()


def test_unfinished_and_foreign_runs_are_refused(trained, tmp_path, capsys):
    out = str(tmp_path / "starter")
    config = trained / "codes.yaml"
    config.write_text(config.read_text().replace("steps: 2", "steps: 3"))
    assert release.main([str(trained), "--out", out]) == 1
    assert "is at step 2 of 3; train it to its end, or add --unfinished" in capsys.readouterr().err
    assert release.main([str(trained), "--out", out, "--unfinished"]) == 0
    meta = tmp_path / "rerank" / "checkpoint" / "meta.json"
    meta.write_text(meta.read_text().replace(checkpoint.read_meta(meta.parent)["codebook"], "0" * 64))
    assert release.main([str(trained), "--out", out, "--unfinished"]) == 1
    assert "belong to different tokenizers" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "codes")
    assert release.main([str(trained), "--out", out]) == 1
    assert "no checkpoint there" in capsys.readouterr().err


def test_rounding_that_changes_codes_is_refused(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(release, "different_codes", lambda _: 0.006)
    assert release.main([str(trained), "--out", str(tmp_path / "starter")]) == 1
    assert "float16 changes 0.60% of its codes" in capsys.readouterr().err and not (tmp_path / "starter").exists()
    assert release.main([str(trained), "--out", str(tmp_path / "starter"), "--full", "codes"]) == 0
    stored = load_file(tmp_path / "starter" / "codes" / "model.safetensors")
    assert torch.float16 not in {v.dtype for v in stored.values()}
