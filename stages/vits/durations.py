"""How long each phone lasts: VITS's stochastic duration predictor (Kim et al. 2021, section 2.2.2) and a plain one.

The stochastic predictor is a flow over two numbers a phone. Durations are whole numbers, so a variational posterior
first subtracts a fraction `u` (dequantisation, Ho et al. 2019) and adds a second number (augmentation, Chen et al.
2020); what it learns is a lower bound of their likelihood. Saying draws the two numbers and reads one of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.vits.blocks import ChannelNorm
from stages.vits.splines import rational_quadratic

LEAST = 1e-6
"""frames added to a duration before its logarithm is taken, which the deterministic predictor aims at"""
_LEAST_REST = 1e-5
"""frames that are left at least of a duration without its fraction `u`"""
_HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class DurationsConfig:
    """The `durations:` part of a VITS model; the defaults are the paper's and MeloTTS's."""

    stochastic: bool = True
    deterministic: bool = True
    kernel: int = 3
    filter: int = 192
    """width of the stochastic predictor"""
    deterministic_filter: int = 256
    stochastic_dropout: float = 0.5
    dropout: float = 0.5
    """of the deterministic predictor"""
    flows: int = 4
    """spline couplings in the stochastic predictor's flow, and as many in its posterior's"""
    bins: int = 10
    tail: float = 5.0
    """the splines bend -tail to tail"""
    dds_layers: int = 3
    """dilated depth-separable convolutions in every stack"""

    def __post_init__(self) -> None:
        if not (self.stochastic or self.deterministic):
            raise ValueError("durations: nothing predicts them; set stochastic or deterministic (or both) to true")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"durations.kernel is {self.kernel}; give an odd number, so that phones stay in place")
        for name in ("filter", "deterministic_filter", "dds_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"durations.{name} is {getattr(self, name)}; give 1 or more")
        for name in ("stochastic_dropout", "dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"durations.{name} is {getattr(self, name):g}; give 0 to less than 1")
        if self.flows < 2:
            raise ValueError(f"durations.flows is {self.flows}; give 2 or more, the first one never reaches a duration")
        if not 2 <= self.bins <= 100:
            raise ValueError(f"durations.bins is {self.bins}; give 2 to 100")
        if not self.tail > 0:
            raise ValueError(f"durations.tail is {self.tail:g}; give a number above 0")


class DepthwiseConv(nn.Conv1d):
    """A depthwise convolution on (B, P, C), the layout in which norms and pointwise layers are fast on a CPU too."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__(width, width, kernel, groups=width, dilation=dilation)
        self.reach = (kernel - 1) * dilation // 2

    def forward(self, x: Tensor) -> Tensor:
        """x (B, P, C) -> the same shape."""
        # as pictures of one row in the channels-last format, for which no value is moved
        rows, weight = x.transpose(1, 2).unsqueeze(2), self.weight.unsqueeze(2)
        y = F.conv2d(rows, weight, self.bias, 1, (0, self.reach), (1, self.dilation[0]), self.groups)
        return y.squeeze(2).transpose(1, 2)


class SeparableConvs(nn.Module):
    """Dilated depth-separable convolutions with residuals, on (B, P, C): layer i has dilation kernel ** i."""

    def __init__(self, width: int, kernel: int, layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        norms = lambda: nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))  # noqa: E731
        self.depthwise = nn.ModuleList(DepthwiseConv(width, kernel, kernel**i) for i in range(layers))
        self.pointwise = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.depthwise_norms, self.pointwise_norms = norms(), norms()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, P, C), mask (B, P, 1) -> (B, P, C)."""
        for depthwise, norm, pointwise, last_norm in zip(
            self.depthwise, self.depthwise_norms, self.pointwise, self.pointwise_norms, strict=True
        ):
            h = F.gelu(norm(depthwise(x * mask)))
            x = x + self.dropout(F.gelu(last_norm(pointwise(h))))
        return x * mask


class SplineCoupling(nn.Module):
    """Bends one number of each phone by a spline that depends on the other number and on the text."""

    def __init__(self, width: int, kernel: int, layers: int, bins: int, tail: float) -> None:
        super().__init__()
        self.width, self.bins, self.tail = width, bins, tail
        self.before = nn.Linear(1, width)
        self.convs = SeparableConvs(width, kernel, layers)
        self.after = nn.Linear(width, 3 * bins - 1)
        nn.init.zeros_(self.after.weight)  # every spline begins as the same one
        nn.init.zeros_(self.after.bias)

    def forward(
        self, kept: Tensor, bent: Tensor, mask: Tensor, heard: Tensor, inverse: bool = False
    ) -> tuple[Tensor, Tensor]:
        """kept, bent and mask (B, P), heard (B, P, C) -> bent and the log of its derivative, both (B, P)."""
        shape = self.after(self.convs(self.before(kept.unsqueeze(-1)) + heard, mask.unsqueeze(-1)))
        widths, heights, slopes = shape.split((self.bins, self.bins, self.bins - 1), dim=-1)
        scale = self.width**-0.5
        bent, slope = rational_quadratic(bent, widths * scale, heights * scale, slopes, self.tail, inverse)
        return bent * mask, slope * mask


class DurationFlow(nn.Module):
    """Two numbers a phone <-> normal noise: an affine map, then couplings between which the two change places."""

    def __init__(self, config: DurationsConfig) -> None:
        super().__init__()
        self.shift, self.log_scale = nn.Parameter(torch.zeros(2, 1)), nn.Parameter(torch.zeros(2, 1))
        self.couplings = nn.ModuleList(
            SplineCoupling(config.filter, config.kernel, config.dds_layers, config.bins, config.tail)
            for _ in range(config.flows)
        )

    def forward(self, pair: Tensor, mask: Tensor, heard: Tensor) -> tuple[Tensor, Tensor]:
        """pair (B, 2, P), mask (B, 1, P), heard (B, P, C) -> (B, 2, P) and log-determinants (B,)."""
        first, second = ((self.shift + self.log_scale.exp() * pair) * mask).unbind(1)
        mask = mask.squeeze(1)
        slopes = self.log_scale.sum() * mask
        for coupling in self.couplings:
            second, slope = coupling(first, second, mask, heard)
            slopes = slopes + slope
            first, second = second, first
        return torch.stack((first, second), 1), slopes.sum(1)

    def inverse(self, pair: Tensor, mask: Tensor, heard: Tensor, whole: bool = True) -> Tensor:
        """The inverse of `forward`: (B, 2, P) -> (B, 2, P).

        Without `whole` the first coupling is left out, and only the first number is right: that coupling changes the
        second one alone, which nobody reads.
        """
        first, second = (pair * mask).unbind(1)
        for i in reversed(range(len(self.couplings))):
            first, second = second, first
            if whole or i > 0:
                second, _ = self.couplings[i](first, second, mask.squeeze(1), heard, inverse=True)
        return (torch.stack((first, second), 1) - self.shift) * (-self.log_scale).exp() * mask


class StochasticDurationPredictor(nn.Module):
    """A distribution over durations given the text (Kim et al. 2021, section 2.2.2).

    Args:
        width: channels of the text's hidden states.
        condition: width of the speaker's vector; 0 = none.
    """

    def __init__(self, config: DurationsConfig, width: int, condition: int = 0) -> None:
        super().__init__()
        filter, convs = config.filter, (config.kernel, config.dds_layers, config.stochastic_dropout)
        self.before = nn.Linear(width, filter)
        self.condition = nn.Linear(condition, filter) if condition else None
        self.convs = SeparableConvs(filter, *convs)
        self.after = nn.Linear(filter, filter)
        self.flow = DurationFlow(config)
        self.posterior_before = nn.Linear(1, filter)
        self.posterior_convs = SeparableConvs(filter, *convs)
        self.posterior_after = nn.Linear(filter, filter)
        self.posterior_flow = DurationFlow(config)

    def loss(
        self, hidden: Tensor, mask: Tensor, durations: Tensor, condition: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """An upper bound of the durations' negative log-likelihood, nats per phone: the mean over all phones.

        Args:
            hidden: (B, C, P); detach it, and the condition, when durations shall not shape the text encoder.
            durations: (B, 1, P) whole frames, 1 or more where the mask (B, 1, P) is 1.
            condition: (B, G, 1), or None for a model without one.
        """
        shape = (len(hidden), 2, hidden.shape[2])
        noise = torch.randn(shape, generator=generator, device=generator.device).to(hidden.device)
        return self.bound(hidden, mask, durations, noise, condition).sum() / mask.sum()

    def bound(
        self, hidden: Tensor, mask: Tensor, durations: Tensor, noise: Tensor, condition: Tensor | None = None
    ) -> Tensor:
        """The bound for one draw of the posterior's noise (B, 2, P): nats (B,), summed over the phones."""
        heard = self._heard(hidden, mask, condition)
        seen = self.posterior_before(durations.transpose(1, 2))
        seen = self.posterior_after(self.posterior_convs(seen, mask.transpose(1, 2))) * mask.transpose(1, 2)
        drawn, spread = self.posterior_flow(noise * mask, mask, heard + seen)
        fraction, added = drawn.split(1, dim=1)
        squeezed = ((F.logsigmoid(fraction) + F.logsigmoid(-fraction)) * mask).sum((1, 2))
        posterior = -_energy(noise, mask) - spread - squeezed
        rest = (durations - fraction.sigmoid()).clamp_min(_LEAST_REST).log() * mask
        latents, spread = self.flow(torch.cat((rest, added), 1), mask, heard)
        return _energy(latents, mask) - spread + rest.sum((1, 2)) + posterior

    def sample(self, hidden: Tensor, mask: Tensor, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        """Durations drawn by `noise`, as logarithms of frames.

        Args:
            hidden: (B, C, P), mask (B, 1, P), condition (B, G, 1) or None.
            noise: (B, 2, P) normal, times how much the rhythm shall vary (`noise_scale_w`); 0 = the steady rhythm.

        Returns:
            (B, 1, P), 0 where no phone is. The whole duration is the next larger number of frames: what was learnt are
            durations less a fraction.
        """
        return self.flow.inverse(noise, mask, self._heard(hidden, mask, condition), whole=False)[:, :1]

    def _heard(self, hidden: Tensor, mask: Tensor, condition: Tensor | None) -> Tensor:
        """What the text and the speaker say, (B, P, C)."""
        h, mask = self.before(hidden.transpose(1, 2)), mask.transpose(1, 2)
        if self.condition is not None and condition is not None:
            h = h + self.condition(condition.transpose(1, 2))
        return self.after(self.convs(h, mask)) * mask


def _energy(normal: Tensor, mask: Tensor) -> Tensor:
    """Negative log-density of normal variables (B, 2, P) that the mask leaves: (B,)."""
    return ((_HALF_LOG_2_PI + 0.5 * normal.square()) * mask).sum((1, 2))


class DurationPredictor(nn.Module):
    """The most likely duration of each phone (FastSpeech's predictor, as VITS has it): two convolutions.

    Args:
        width: channels of the text's hidden states.
        condition: width of the speaker's vector; 0 = none.
    """

    def __init__(self, config: DurationsConfig, width: int, condition: int = 0) -> None:
        super().__init__()
        filter, kernel = config.deterministic_filter, config.kernel
        self.condition = nn.Conv1d(condition, width, 1) if condition else None
        self.convs = nn.ModuleList(nn.Conv1d(inputs, filter, kernel, padding=kernel // 2) for inputs in (width, filter))
        self.norms = nn.ModuleList(ChannelNorm(filter) for _ in self.convs)
        self.after = nn.Conv1d(filter, 1, 1)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        """hidden (B, C, P), mask (B, 1, P), condition (B, G, 1) or None -> logarithms of frames (B, 1, P)."""
        x = hidden
        if self.condition is not None and condition is not None:
            x = x + self.condition(condition)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = self.dropout(norm(F.relu(conv(x * mask))))
        return self.after(x) * mask
