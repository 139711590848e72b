"""VITS2's judge of durations (Kong et al. 2023, section 2.1): given the text, is each phone's true or predicted?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.vits.blocks import ChannelNorm


class _Convs(nn.Module):
    """Two convolutions, each with ReLU, norm and dropout."""

    def __init__(self, inputs: int, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(n, width, kernel, padding=kernel // 2) for n in (inputs, width))
        self.norms = nn.ModuleList(ChannelNorm(width) for _ in self.convs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, inputs, P), mask (B, 1, P) -> (B, width, P)."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = self.dropout(norm(F.relu(conv(x * mask))))
        return x * mask


class DurationDiscriminator(nn.Module):
    """Scores each phone's duration given all the text and all durations: near 1 = as in speech, near 0 = predicted.

    Args:
        width: channels of the text's hidden states.
        kernel: odd, so that phones stay in place.
    """

    def __init__(self, width: int, filter: int = 192, kernel: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"the duration discriminator's kernel is {kernel}; give an odd number")
        self.text = _Convs(width, filter, kernel, dropout)
        self.duration = nn.Conv1d(1, filter, 1)
        self.both = _Convs(2 * filter, filter, kernel, dropout)
        self.score = nn.Conv1d(filter, 1, 1)

    def forward(self, hidden: Tensor, mask: Tensor, log_durations: Tensor) -> Tensor:
        """hidden (B, C, P), mask and log_durations (B, 1, P) -> scores (B, P), 0 where no phone is."""
        heard = torch.cat((self.text(hidden, mask), self.duration(log_durations)), 1)
        return (self.score(self.both(heard, mask)) * mask).squeeze(1)


def stacked(hidden: Tensor, mask: Tensor, log_durations: Tensor) -> Tensor:
    """All that `StackedDurations` judges in one tensor: (B, C, P), (B, 1, P), (B, 1, P) -> (B, C + 2, P)."""
    return torch.cat((hidden, mask, log_durations), 1)


class StackedDurations(nn.Module):
    """The discriminator as an AdversarialLoss calls it; make what it is given with `stacked`.

    Its scores are those of the phones that are there, so that the least-squares losses are means over phones; there
    are no feature maps to match. In an objective, with `hidden` detached:

        real, fake = (stacked(hidden, mask, logs) for logs in (true, predicted))
        losses["_duration_discriminator"], adversarial, _ = adversary(fake, real)
        losses["duration_adversarial"] = weight * adversarial
    """

    def __init__(self, discriminator: DurationDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, both: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
        """(B, C + 2, P) -> one judgement: scores (phones,) and no feature maps."""
        hidden, mask, log_durations = both[:, :-2], both[:, -2:-1], both[:, -1:]
        return [(self.discriminator(hidden, mask, log_durations)[mask[:, 0] > 0], [])]
