"""The flow's coupling layer with a transformer inside, which sees as far as the sentence goes (VITS2, section 2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from stages.vits.blocks import RelativeEncoder

if TYPE_CHECKING:
    from stages.vits.flows import FlowConfig

WINDOW = 4
"""frames either side whose distance attention knows"""


class TransformerCoupling(nn.Module):
    """Shifts one half of the channels by what a transformer makes of the other half (its log-determinant is 0).

    As in VITS2 (Kong et al. 2023) the transformer has a residual around it, and the shift starts at 0; as in MeloTTS
    it takes the place of the convolutions and hears the speaker.
    """

    def __init__(self, config: FlowConfig, channels: int, condition: int) -> None:
        super().__init__()
        self.kept = channels // 2
        self.inputs = nn.Conv1d(self.kept, config.width, 1)
        self.encoder = RelativeEncoder(
            config.width,
            config.filter,
            config.heads,
            config.transformer_layers,
            config.kernel,
            config.dropout,
            WINDOW,
            condition,
        )
        self.shift = nn.Conv1d(config.width, self.kept, 1)
        for parameter in self.shift.parameters():
            nn.init.zeros_(parameter)

    def forward(self, z: Tensor, mask: Tensor, condition: Tensor | None = None, reverse: bool = False) -> Tensor:
        """z (B, C, T), mask (B, 1, T), condition (B, G, 1) -> (B, C, T); `reverse` undoes it."""
        a, b = z[:, : self.kept] * mask, z[:, self.kept :] * mask
        h = self.inputs(a) * mask
        shift = self.shift(h + self.encoder(h, mask, condition)) * mask
        return torch.cat((a, b - shift if reverse else b + shift), dim=1)
