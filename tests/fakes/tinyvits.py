"""Tiny VITS checkpoints with random weights: what the tests of the stage, the route and conversion speak with."""

from stages.core import checkpoint, symbols
from stages.core.config import build

SMALL = {
    "audio": {"sample_rate": 16000, "n_fft": 256, "hop": 64, "n_mels": 20},
    "speakers": ["rms", "slt"],
    "hidden": 16,
    "channels": 8,
    "condition": 8,
    "text": {"filter": 16, "layers": 1},
    "posterior": {"width": 8, "layers": 2},
    "flow": {"flows": 2, "width": 8, "layers": 1},
    "durations": {"filter": 8, "deterministic_filter": 8, "flows": 2, "dds_layers": 1},
    "decoder": {
        "hifigan": {
            "channels": 16, "rates": [8, 8], "kernels": [16, 16], "block": 2, "block_kernels": [3],
            "block_dilations": [[1, 3]],
        }
    },
}  # fmt: skip

NOISY = {
    "kind": "source_filter",
    "envelope": {"width": 8, "depth": 1},
    "source_filter": {"width": 8, "depth": 1, "pitch_width": 8, "pitch_bins": 8, "window": 64},
}


def write(folder, meta=None, **changes):
    """Writes a checkpoint of SMALL with what differs at the top; gives its folder. Fixed weights, none zero."""
    import torch

    from stages.vits.model import Vits, VitsModelConfig

    config = build(VitsModelConfig, {**SMALL, **changes}, "tiny vits")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = Vits(config)
        for value in model.parameters():  # zero-initialised outputs would hide everything
            if value.abs().sum() == 0:
                torch.nn.init.normal_(value, std=0.1)
    told = {"stage": "vits", "symbols": symbols.DIGEST, "audio": config.audio.digest, **(meta or {})}
    checkpoint.write(folder, model.state_dict(), config, told)
    return folder
