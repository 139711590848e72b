"""Latents to waveform: HiFi-GAN (the papers'), an inverse-STFT head for CPUs, a source-filter one (the starter's)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stages.core.audio import AudioSpec
from stages.core.config import least
from stages.nn.conv import ConvNeXtStack, TimeConv
from stages.nn.hifigan import HifiGanConfig, HifiGanGenerator
from stages.nn.source_filter import SourceFilterConfig, SourceFilterGenerator

KINDS = ("hifigan", "istft", "source_filter")
LOUDEST = 100.0
"""magnitudes of the inverse STFT are cut here, as in Vocos"""


@dataclass(frozen=True)
class IstftConfig:
    """Hyper-parameters of the inverse-STFT decoder."""

    width: int = 256
    depth: int = 8
    window: int = 1024
    """samples of the synthesis window; its hop is the AudioSpec's"""

    def __post_init__(self) -> None:
        least(self, 1, "width", "depth")


@dataclass(frozen=True)
class EnvelopeConfig:
    """Hyper-parameters of what maps latents to the log-mel that the source-filter generator is driven by."""

    width: int = 256
    depth: int = 4

    def __post_init__(self) -> None:
        least(self, 1, "width", "depth")


@dataclass(frozen=True)
class DecoderConfig:
    """`kind` chooses; only the chosen one's part is read."""

    kind: str = "hifigan"
    hifigan: HifiGanConfig = field(default_factory=HifiGanConfig)
    istft: IstftConfig = field(default_factory=IstftConfig)
    envelope: EnvelopeConfig = field(default_factory=EnvelopeConfig)
    source_filter: SourceFilterConfig = field(default_factory=SourceFilterConfig)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown decoder {self.kind!r}; known: {', '.join(KINDS)}")


class HifiGanDecoder(nn.Module):
    """The HiFi-GAN generator on latents, with the speaker added to its first convolution."""

    noisy = False

    def __init__(self, config: DecoderConfig, spec: AudioSpec, channels: int, condition: int) -> None:
        super().__init__()
        self.generator = HifiGanGenerator(config.hifigan, channels, spec.hop, condition)

    def forward(self, z: Tensor, condition: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """z (B, C, T) -> waveform (B, T * hop)."""
        return self.generator(z, condition)


class IstftDecoder(nn.Module):
    """ConvNeXt blocks at frame rate, magnitude and phase, inverse STFT (Vocos, Siuzdak 2023; cf. MB-iSTFT-VITS)."""

    window: Tensor
    noisy = False

    def __init__(self, config: DecoderConfig, spec: AudioSpec, channels: int, condition: int) -> None:
        super().__init__()
        own = config.istft
        if own.window % spec.hop or own.window < 2 * spec.hop:
            raise ValueError(
                f"the synthesis window ({own.window}) must be a multiple, 2 or more, of the hop ({spec.hop})"
            )
        self.size, self.hop = own.window, spec.hop
        self.inputs = TimeConv(channels, own.width, 7)
        self.condition = nn.Linear(condition, own.width) if condition else None
        self.stack = ConvNeXtStack(own.width, own.depth)
        self.norm = nn.LayerNorm(own.width)
        self.spectrum = nn.Linear(own.width, own.window + 2)
        self.register_buffer("window", torch.hann_window(own.window), persistent=False)

    def forward(self, z: Tensor, condition: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """z (B, C, T) -> waveform (B, T * hop)."""
        x = self.inputs(z.transpose(1, 2))
        if self.condition is not None and condition is not None:
            x = x + self.condition(condition.transpose(1, 2))
        x = self.spectrum(self.norm(self.stack(x))).float()  # a spectrum has no half precision
        magnitude, phase = torch.cat((x, x[:, -1:]), dim=1).transpose(1, 2).chunk(2, dim=1)
        spectrum = torch.polar(magnitude.exp().clamp_max(LOUDEST), phase)
        return torch.istft(spectrum, self.size, self.hop, self.size, self.window, length=z.shape[2] * self.hop)


class SourceFilterDecoder(nn.Module):
    """Latents -> log-mel envelope -> the source-filter generator, whose last step is an inverse STFT.

    The envelope can be taught on all frames, which costs far less than sound: that is what makes two cores enough.
    """

    noisy = True

    def __init__(self, config: DecoderConfig, spec: AudioSpec, channels: int, condition: int) -> None:
        super().__init__()
        self.spec = spec
        own = config.envelope
        self.inputs = TimeConv(channels, own.width, 5)
        self.stack = ConvNeXtStack(own.width, own.depth, condition=condition)
        self.norm = nn.LayerNorm(own.width)
        self.to_mel = nn.Linear(own.width, spec.n_mels)
        self.generator = SourceFilterGenerator(config.source_filter, spec)

    def envelope(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """z (B, C, T) -> normalised log-mel (B, T, M)."""
        x = self.inputs(z.transpose(1, 2))
        return self.to_mel(self.norm(self.stack(x, None if condition is None else condition[:, :, 0])))

    def forward(self, z: Tensor, condition: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """z (B, C, T), noise (B, T * hop) standard normal -> waveform (B, T * hop)."""
        assert noise is not None
        mel = self.envelope(z, condition)
        return self.generator(mel, noise, self.generator.pitch.log_pitch(self.generator.pitch(mel)))


Decoder = HifiGanDecoder | IstftDecoder | SourceFilterDecoder


def make_decoder(config: DecoderConfig, spec: AudioSpec, channels: int, condition: int) -> Decoder:
    """The decoder that `config` names. Raises ValueError when it does not fit the AudioSpec."""
    kinds: dict[str, type[HifiGanDecoder] | type[IstftDecoder] | type[SourceFilterDecoder]] = {
        "hifigan": HifiGanDecoder,
        "istft": IstftDecoder,
        "source_filter": SourceFilterDecoder,
    }
    return kinds[config.kind](config, spec, channels, condition)
