"""Which tensors of transformers' `VitsModel` each tensor of ours is made of: names only, of the plain weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.vits.model import VitsModelConfig

Sources = dict[str, tuple[str, ...]]
"""our name -> theirs, to be joined along the first dimension; none = zeros (theirs has no such tensor)"""
MODULES = {
    "text.symbols": "text_encoder.embed_tokens",
    "text.statistics": "text_encoder.project",
    "speakers": "embed_speaker",
    "posterior.inputs": "posterior_encoder.conv_pre",
    "posterior.statistics": "posterior_encoder.conv_proj",
    "decoder.generator.inputs": "decoder.conv_pre",
    "decoder.generator.condition": "decoder.cond",
    "decoder.generator.outputs": "decoder.conv_post",
}
ENCODER_LAYER = {
    "attention.out": "attention.out_proj",
    "attention_norm": "layer_norm",
    "expand": "feed_forward.conv_1",
    "project": "feed_forward.conv_2",
    "feed_norm": "final_layer_norm",
}
STOCHASTIC = {
    "before": "conv_pre",
    "after": "conv_proj",
    "condition": "cond",
    "posterior_before": "post_conv_pre",
    "posterior_after": "post_conv_proj",
}
DETERMINISTIC = {
    "condition": "cond",
    "convs.0": "conv_1",
    "convs.1": "conv_2",
    "norms.0": "norm_1",
    "norms.1": "norm_2",
    "after": "proj",
}


def sources(config: VitsModelConfig, attention_bias: bool = True) -> Sources:
    """Theirs for every name that our model of `config` can have, and more: what is looked up is what there is.

    Args:
        attention_bias: whether their attention has biases (`use_bias`).
    """
    out: Sources = {}
    _modules(out, "", "", MODULES)
    _text(out, config.text.layers, attention_bias)
    _wavenet(out, "posterior.wavenet.", "posterior_encoder.wavenet.", config.posterior.layers)
    for i in range(config.flow.flows):
        ours, theirs = f"flow.couplings.{i}.", f"flow.flows.{i}."
        _modules(out, ours, theirs, {"inputs": "conv_pre", "shift": "conv_post"})
        _wavenet(out, f"{ours}wavenet.", f"{theirs}wavenet.", config.flow.layers)
    _modules(out, "deterministic.", "duration_predictor.", DETERMINISTIC)
    _stochastic(out, config.durations.flows, config.durations.dds_layers)
    _generator(out, config)
    out["decoder.generator.outputs.bias"] = ()
    return out


def _modules(out: Sources, ours: str, theirs: str, names: dict[str, str]) -> None:
    for name, other in names.items():
        for part in ("weight", "bias"):
            out[f"{ours}{name}.{part}"] = (f"{theirs}{other}.{part}",)


def _numbered(pairs: Iterable[tuple[str, str]], count: int) -> dict[str, str]:
    return {f"{name}.{i}": f"{other}.{i}" for name, other in pairs for i in range(count)}


def _text(out: Sources, layers: int, attention_bias: bool) -> None:
    for i in range(layers):
        ours, theirs = f"text.encoder.layers.{i}.", f"text_encoder.encoder.layers.{i}."
        _modules(out, ours, theirs, ENCODER_LAYER)
        attention = f"{theirs}attention."
        for part in ("weight", "bias"):
            out[f"{ours}attention.qkv.{part}"] = tuple(f"{attention}{name}_proj.{part}" for name in "qkv")
        out[f"{ours}attention.key_offsets"] = (f"{attention}emb_rel_k",)
        out[f"{ours}attention.value_offsets"] = (f"{attention}emb_rel_v",)
        if not attention_bias:
            out[f"{ours}attention.qkv.bias"] = out[f"{ours}attention.out.bias"] = ()


def _wavenet(out: Sources, ours: str, theirs: str, layers: int) -> None:
    pairs = [("gates", "in_layers"), ("outputs", "res_skip_layers")]
    _modules(out, ours, theirs, {"condition": "cond_layer"} | _numbered(pairs, layers))


def _stochastic(out: Sources, flows: int, layers: int) -> None:
    ours, theirs = "stochastic.", "duration_predictor."
    _modules(out, ours, theirs, STOCHASTIC)
    _separable(out, f"{ours}convs.", f"{theirs}conv_dds.", layers)
    _separable(out, f"{ours}posterior_convs.", f"{theirs}post_conv_dds.", layers)
    for flow, other in (("flow", "flows"), ("posterior_flow", "post_flows")):
        out[f"{ours}{flow}.shift"] = (f"{theirs}{other}.0.translate",)
        out[f"{ours}{flow}.log_scale"] = (f"{theirs}{other}.0.log_scale",)
        for i in range(flows):
            own, its = f"{ours}{flow}.couplings.{i}.", f"{theirs}{other}.{i + 1}."
            _modules(out, own, its, {"before": "conv_pre", "after": "conv_proj"})
            _separable(out, f"{own}convs.", f"{its}conv_dds.", layers)


def _separable(out: Sources, ours: str, theirs: str, layers: int) -> None:
    pairs = [("depthwise", "convs_dilated"), ("pointwise", "convs_pointwise"),
             ("depthwise_norms", "norms_1"), ("pointwise_norms", "norms_2")]  # fmt: skip
    _modules(out, ours, theirs, _numbered(pairs, layers))


def _generator(out: Sources, config: VitsModelConfig) -> None:
    generator = config.decoder.hifigan
    _modules(out, "decoder.generator.", "decoder.", _numbered([("ups", "upsampler")], len(generator.rates)))
    kinds = len(generator.block_kernels)
    for i in range(len(generator.rates)):
        for j, dilations in enumerate(generator.block_dilations):
            ours, theirs = f"decoder.generator.blocks.{i}.{j}.", f"decoder.resblocks.{i * kinds + j}."
            _modules(out, ours, theirs, _numbered([("first", "convs1"), ("second", "convs2")], len(dilations)))
