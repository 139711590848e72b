"""The architecture of transformers' `VitsModel`, under its own names, and in this project's words."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from stages.core.audio import AudioSpec
from stages.nn.hifigan import SLOPE, HifiGanConfig
from stages.vits.decoder import DecoderConfig
from stages.vits.durations import DurationsConfig
from stages.vits.flows import FlowConfig
from stages.vits.model import VitsModelConfig
from stages.vits.posterior import PosteriorConfig
from stages.vits.text_encoder import TextEncoderConfig
from stages.vits.tokens import Reads

CONFIG = "config.json"
LARGEST, MOST_LAYERS, HIGHEST_RATE = 1 << 16, 256, 192_000
"""no width, no number of layers, no sample rate is above: a damaged number is refused before anything is built of it"""


@dataclass(frozen=True)
class TheirConfig:
    """What config.json says of the architecture, under transformers' names and with its defaults."""

    vocab_size: int = 38
    hidden_size: int = 192
    num_hidden_layers: int = 6
    num_attention_heads: int = 2
    window_size: int = 4
    use_bias: bool = True
    ffn_dim: int = 768
    ffn_kernel_size: int = 3
    flow_size: int = 192
    spectrogram_bins: int = 513
    hidden_act: str = "relu"
    hidden_dropout: float = 0.1
    layer_norm_eps: float = 1e-5
    use_stochastic_duration_prediction: bool = True
    num_speakers: int = 1
    speaker_embedding_size: int = 0
    upsample_initial_channel: int = 512
    upsample_rates: tuple[int, ...] = (8, 8, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 4, 4)
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    leaky_relu_slope: float = SLOPE
    depth_separable_channels: int = 2
    depth_separable_num_layers: int = 3
    duration_predictor_flow_bins: int = 10
    duration_predictor_tail_bound: float = 5.0
    duration_predictor_kernel_size: int = 3
    duration_predictor_dropout: float = 0.5
    duration_predictor_num_flows: int = 4
    duration_predictor_filter_channels: int = 256
    prior_encoder_num_flows: int = 4
    prior_encoder_num_wavenet_layers: int = 4
    posterior_encoder_num_wavenet_layers: int = 16
    wavenet_kernel_size: int = 5
    wavenet_dilation_rate: int = 1
    wavenet_dropout: float = 0.0
    speaking_rate: float = 1.0
    noise_scale: float = 0.667
    noise_scale_duration: float = 0.8
    sampling_rate: int = 16_000

    def __post_init__(self) -> None:
        for name, only in (("hidden_act", "relu"), ("leaky_relu_slope", SLOPE), ("layer_norm_eps", 1e-5),
                           ("depth_separable_channels", 2)):  # fmt: skip
            if getattr(self, name) != only:
                raise ValueError(f"{name} is {getattr(self, name)!r}, and only {only!r} is built here")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "speaker_embedding_size" else 1
            most = MOST_LAYERS if "_num_" in field.name or field.name == "num_hidden_layers" else LARGEST
            most = HIGHEST_RATE if field.name == "sampling_rate" else most
            for number in value if isinstance(value, tuple) else [value]:
                if type(number) is int and not least <= number <= most:
                    raise ValueError(f"{field.name} is {value!r}; it must be {least} to {most}")
        self._check_shapes()

    def _check_shapes(self) -> None:
        for name in ("wavenet_kernel_size", "duration_predictor_kernel_size"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be odd, or frames would be lost")
        for one, other in (("upsample_rates", "upsample_kernel_sizes"),
                           ("resblock_kernel_sizes", "resblock_dilation_sizes")):  # fmt: skip
            if not getattr(self, one) or len(getattr(self, one)) != len(getattr(self, other)):
                raise ValueError(f"{one} and {other} must have as many entries, and one at least")
        if any(k < r or (k - r) % 2 for k, r in zip(self.upsample_kernel_sizes, self.upsample_rates, strict=True)):
            raise ValueError("each upsample_kernel_sizes must be its rate or more by an even number")
        if self.num_speakers > 1 and self.speaker_embedding_size == 0:
            raise ValueError("num_speakers is above 1, but speaker_embedding_size is 0; give the size of the table")

    @property
    def condition(self) -> int:
        """Width of the speaker's vector; 0 where nobody's can be given."""
        return self.speaker_embedding_size if self.num_speakers > 1 else 0

    @property
    def controls(self) -> dict[str, float]:
        """How it is spoken with when nobody says otherwise, in this project's words."""
        return {
            "speed": self.speaking_rate,
            "noise_scale": self.noise_scale,
            "noise_scale_w": self.noise_scale_duration,
        }


def model_config(theirs: TheirConfig, reads: Reads) -> VitsModelConfig:
    """The same architecture in this project's words, for text that becomes ids as `reads` says.

    Raises:
        ValueError: a size that this project's model cannot have.
    """
    rate, hop = theirs.sampling_rate, math.prod(theirs.upsample_rates)
    audio = AudioSpec(sample_rate=rate, n_fft=2 * (theirs.spectrogram_bins - 1), hop=hop, fmax=rate / 2)
    speakers = tuple(f"speaker{i}" for i in range(theirs.num_speakers)) if theirs.num_speakers > 1 else ()
    generator = HifiGanConfig(
        channels=theirs.upsample_initial_channel,
        rates=theirs.upsample_rates,
        kernels=theirs.upsample_kernel_sizes,
        block_kernels=theirs.resblock_kernel_sizes,
        block_dilations=theirs.resblock_dilation_sizes,
    )
    return VitsModelConfig(
        audio=audio,
        symbols=theirs.vocab_size,
        blank=reads.add_blank,
        speakers=speakers,
        languages=(reads.language or "unknown",),
        hidden=theirs.hidden_size,
        channels=theirs.flow_size,
        condition=theirs.condition,
        text=_text_config(theirs),
        posterior=PosteriorConfig(
            width=theirs.hidden_size,
            layers=theirs.posterior_encoder_num_wavenet_layers,
            kernel=theirs.wavenet_kernel_size,
            dilation_rate=theirs.wavenet_dilation_rate,
            dropout=theirs.wavenet_dropout,
        ),
        flow=_flow_config(theirs),
        durations=_durations_config(theirs),
        decoder=DecoderConfig(kind="hifigan", hifigan=generator),
    )


def _flow_config(theirs: TheirConfig) -> FlowConfig:
    return FlowConfig(
        flows=theirs.prior_encoder_num_flows,
        width=theirs.hidden_size,
        layers=theirs.prior_encoder_num_wavenet_layers,
        kernel=theirs.wavenet_kernel_size,
        dilation_rate=theirs.wavenet_dilation_rate,
        dropout=theirs.wavenet_dropout,
    )


def _text_config(theirs: TheirConfig) -> TextEncoderConfig:
    return TextEncoderConfig(
        filter=theirs.ffn_dim,
        heads=theirs.num_attention_heads,
        layers=theirs.num_hidden_layers,
        kernel=theirs.ffn_kernel_size,
        window=theirs.window_size,
        dropout=theirs.hidden_dropout,
    )


def _durations_config(theirs: TheirConfig) -> DurationsConfig:
    stochastic = theirs.use_stochastic_duration_prediction
    return DurationsConfig(
        stochastic=stochastic,
        deterministic=not stochastic,
        kernel=theirs.duration_predictor_kernel_size,
        filter=theirs.hidden_size,
        deterministic_filter=theirs.duration_predictor_filter_channels,
        stochastic_dropout=theirs.duration_predictor_dropout,
        dropout=theirs.duration_predictor_dropout,
        flows=theirs.duration_predictor_num_flows,
        bins=theirs.duration_predictor_flow_bins,
        tail=theirs.duration_predictor_tail_bound,
        dds_layers=theirs.depth_separable_num_layers,
    )
