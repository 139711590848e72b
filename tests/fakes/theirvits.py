"""Tiny checkpoints in the layout of transformers' VitsModel, with random weights."""

import json

import torch

LETTERS = "k' abcdefghijlmnopqrstuvwxyz-"
TINY = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 24, "flow_size": 12,
    "spectrogram_bins": 33, "upsample_initial_channel": 16, "upsample_rates": [4, 2], "upsample_kernel_sizes": [8, 4],
    "resblock_kernel_sizes": [3, 5], "resblock_dilation_sizes": [[1, 3], [1, 2]], "window_size": 3,
    "duration_predictor_filter_channels": 20, "prior_encoder_num_flows": 2, "prior_encoder_num_wavenet_layers": 3,
    "posterior_encoder_num_wavenet_layers": 3, "wavenet_dilation_rate": 2, "duration_predictor_num_flows": 3,
    "vocab_size": 30,
}  # fmt: skip


def write(folder, tokenizer=None, **changes):
    """A folder as `save_pretrained` leaves it, with random weights; the model too."""
    from transformers import VitsConfig, VitsModel

    torch.manual_seed(0)
    model = VitsModel(VitsConfig(**(TINY | changes))).eval()
    with torch.no_grad():  # what starts at zero would hide a wrong order
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        model.decoder.conv_post.weight *= 0.01  # or the waveform is but 1 and -1
    model.save_pretrained(folder)
    table = {letter: i for i, letter in enumerate(LETTERS)} | {"<unk>": len(LETTERS)}
    (folder / "vocab.json").write_text(json.dumps(table))
    says = {"pad_token": "k", "unk_token": "<unk>", "language": "eng", "phonemize": False, "add_blank": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(says | (tokenizer or {})))
    return model
