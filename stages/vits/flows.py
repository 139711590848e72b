"""The flow between the posterior's latents and the prior's: coupling layers that keep volume (VITS, section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.core.config import least
from stages.vits.blocks import WaveNet, keep_length

KINDS = ("affine", "transformer")


@dataclass(frozen=True)
class FlowConfig:
    """Hyper-parameters of the flow; `filter`, `heads` and `transformer_layers` are those of the transformer kind."""

    kind: str = "affine"
    """affine (VITS: WaveNet inside) or transformer (VITS2, as MeloTTS has it)"""
    flows: int = 4
    width: int = 192
    layers: int = 4
    kernel: int = 5
    dilation_rate: int = 1
    filter: int = 768
    heads: int = 2
    transformer_layers: int = 3
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown flow {self.kind!r}; known: {', '.join(KINDS)}")
        least(self, 1, "flows", "width", "layers", "kernel", "dilation_rate", "filter", "heads", "transformer_layers")
        if self.kind == "affine":
            keep_length(self.kernel)


class AffineCoupling(nn.Module):
    """Shifts one half of the channels by what a WaveNet makes of the other half (its log-determinant is 0)."""

    def __init__(self, config: FlowConfig, channels: int, condition: int) -> None:
        super().__init__()
        self.kept = channels // 2
        self.inputs = nn.Conv1d(self.kept, config.width, 1)
        self.wavenet = WaveNet(
            config.width, config.kernel, config.dilation_rate, config.layers, condition, config.dropout
        )
        self.shift = nn.Conv1d(config.width, self.kept, 1)
        nn.init.zeros_(self.shift.weight)
        assert self.shift.bias is not None
        nn.init.zeros_(self.shift.bias)

    def forward(self, z: Tensor, mask: Tensor, condition: Tensor | None = None, reverse: bool = False) -> Tensor:
        """z (B, C, T) -> the same shape; `reverse` undoes it."""
        a, b = z[:, : self.kept], z[:, self.kept :]
        shift = self.shift(self.wavenet(self.inputs(a) * mask, mask, condition)) * mask
        return torch.cat((a, b * mask - shift if reverse else b * mask + shift), dim=1)


class Flow(nn.Module):
    """Coupling layers with the channels turned round after each, so that every channel is shifted by others."""

    def __init__(self, couplings: list[nn.Module]) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(couplings)

    def forward(self, z: Tensor, mask: Tensor, condition: Tensor | None = None, reverse: bool = False) -> Tensor:
        """z (B, C, T), mask (B, 1, T), condition (B, G, 1) -> (B, C, T); `reverse` is the inverse."""
        if reverse:
            for coupling in reversed(self.couplings):
                z = coupling(z.flip(1), mask, condition, reverse=True)
        else:
            for coupling in self.couplings:
                z = coupling(z, mask, condition).flip(1)
        return z


def make_flow(config: FlowConfig, channels: int, condition: int) -> Flow:
    """The flow that `config` names, for latents of `channels` channels. Raises ValueError for an odd number of them."""
    if channels % 2:
        raise ValueError(f"a flow halves its channels, but there are {channels}; give an even number")
    if config.kind == "transformer":
        from stages.vits.transformer_flow import TransformerCoupling

        return Flow([TransformerCoupling(config, channels, condition) for _ in range(config.flows)])
    return Flow([AffineCoupling(config, channels, condition) for _ in range(config.flows)])
