"""VITS as one model: phones to waveform, and one speaker's sound to another's (Kim et al. 2021; VITS2; MeloTTS)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stages.core.audio import AudioSpec, magnitudes, mel_spectrogram
from stages.core.config import least
from stages.core.symbols import SYMBOLS
from stages.core.types import TONES
from stages.vits.blocks import sequence_mask
from stages.vits.decoder import DecoderConfig, make_decoder
from stages.vits.durations import DurationPredictor, DurationsConfig, StochasticDurationPredictor
from stages.vits.flows import FlowConfig, make_flow
from stages.vits.posterior import PosteriorConfig, PosteriorEncoder, sampled
from stages.vits.text_encoder import TextEncoder, TextEncoderConfig, TextInput

ROUNDING = ("up", "nearest")
LONGEST = 9.0
"""logarithm of the frames that a phone may last: a minute and a half or so"""


@dataclass(frozen=True)
class VitsModelConfig:
    """Hyper-parameters; the defaults are the paper's for LJ Speech. A training fills the speakers in."""

    audio: AudioSpec = field(default_factory=AudioSpec)
    symbols: int = len(SYMBOLS)
    blank: bool = False
    """a blank (symbol 0) before, between and after the symbols (the papers' add_blank)"""
    speakers: tuple[str, ...] = ()
    """by name, in the order of the table; none or one = no table"""
    accents: tuple[str, ...] = ()
    """by name; a second table, added to the speaker's"""
    accent_of: dict[str, str] = field(default_factory=dict)
    """speaker -> the accent it was trained with"""
    languages: tuple[str, ...] = ("en",)
    tones: int = 0
    """tones (in English: degrees of stress) that phones may have; 0 = none"""
    bert: int = 0
    """width of the word vectors that the text encoder hears; 0 = none"""
    hidden: int = 192
    channels: int = 192
    """of the latents"""
    condition: int = 256
    """width of the speaker's vector"""
    rounding: str = "up"
    """how predicted durations become frames: `up` (the papers) or `nearest` (ends are rounded: tempo kept)"""
    text: TextEncoderConfig = field(default_factory=TextEncoderConfig)
    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    durations: DurationsConfig = field(default_factory=DurationsConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    def __post_init__(self) -> None:
        if self.rounding not in ROUNDING:
            raise ValueError(f"unknown rounding {self.rounding!r}; known: {', '.join(ROUNDING)}")
        if not self.languages:
            raise ValueError("languages is empty; name at least one")
        least(self, 1, "symbols", "hidden", "channels")
        least(self, 0, "tones", "bert")
        if 0 < self.tones < TONES:
            raise ValueError(f"tones is {self.tones}; give {TONES}, as many as there are, or 0 for none")
        for kind in ("speakers", "accents", "languages"):
            if len(set(getattr(self, kind))) < len(getattr(self, kind)):
                raise ValueError(f"{kind} names one twice ({', '.join(getattr(self, kind))}); name each once")
        if self.conditioned < 1 and (len(self.speakers) > 1 or len(self.accents) > 1):
            raise ValueError(f"condition is {self.condition}; give 1 or more, or the speakers would be one")
        for speaker, accent in self.accent_of.items():
            if speaker not in self.speakers or accent not in self.accents:
                raise ValueError(f"accent_of says {speaker}: {accent}; both must be among speakers and accents")
        silent = [name for name in self.speakers if name not in self.accent_of] if len(self.accents) > 1 else []
        if silent:
            raise ValueError(f"accent_of lacks {silent[0]!r}; give one of accents ({', '.join(self.accents)})")

    @property
    def conditioned(self) -> int:
        """Width of the vector that says who speaks; 0 when there is nobody to tell apart."""
        return self.condition if len(self.speakers) > 1 or len(self.accents) > 1 else 0


@dataclass(frozen=True)
class Controls:
    """What a listener may ask for."""

    speed: float = 1.0
    """tempo; 2 = twice as fast"""
    noise_scale: float = 0.667
    """how far latents stray from their mean"""
    noise_scale_w: float = 0.8
    """how far stochastic durations stray"""
    sdp_ratio: float = 0.2
    """share of the stochastic predictor in the log durations, the rest is the deterministic one's (MeloTTS)"""


@dataclass(frozen=True)
class Prior:
    """What the text encoder says of each phone."""

    hidden: Tensor  # (B, H, P)
    mean: Tensor  # (B, C, P)
    log_std: Tensor  # (B, C, P)
    mask: Tensor  # (B, 1, P)


class Vits(nn.Module):
    """Text encoder, posterior encoder, flow, duration predictors and decoder.

    Every random draw comes from a CPU generator that the caller gives.
    """

    NAMED_ROWS = {"text.symbols.weight": "symbols", "speakers.weight": "speakers", "accents.weight": "accents",
                  "text.languages.weight": "languages"}  # fmt: skip

    def __init__(self, config: VitsModelConfig) -> None:
        super().__init__()
        self.config = config
        heard, spec = config.conditioned, config.audio
        self.speakers = nn.Embedding(len(config.speakers), heard) if len(config.speakers) > 1 else None
        self.accents = nn.Embedding(len(config.accents), heard) if len(config.accents) > 1 else None
        self.text = TextEncoder(
            config.text,
            config.symbols,
            config.tones,
            len(config.languages),
            config.bert,
            config.hidden,
            config.channels,
            heard,
        )
        bins = spec.n_mels if config.posterior.input == "mel" else spec.n_fft // 2 + 1
        self.posterior = PosteriorEncoder(config.posterior, bins, config.channels, heard)
        self.flow = make_flow(config.flow, config.channels, heard)
        durations = config.durations
        self.stochastic = StochasticDurationPredictor(durations, config.hidden, heard) if durations.stochastic else None
        self.deterministic = DurationPredictor(durations, config.hidden, heard) if durations.deterministic else None
        self.decoder = make_decoder(config.decoder, spec, config.channels, heard)

    def condition(self, speakers: Tensor | None, accents: Tensor | None = None) -> Tensor | None:
        """speakers, accents (B,) long -> the vector (B, G, 1) of who speaks; None for a model of one voice."""
        found = [
            table(which)
            for table, which in ((self.speakers, speakers), (self.accents, accents))
            if table is not None and which is not None
        ]
        return torch.stack(found).sum(0).unsqueeze(2) if found else None

    def encode_text(self, text: TextInput, condition: Tensor | None) -> Prior:
        """What is to be said -> the prior of each phone. Raises ValueError; see TextEncoder."""
        mask = sequence_mask(text.lengths, text.symbols.shape[1])
        hidden, mean, log_std = self.text(text, mask, condition)
        return Prior(hidden, mean, log_std, mask)

    def spectrogram(self, audio: Tensor) -> Tensor:
        """audio (B, L) -> what the posterior encoder reads (B, F, T)."""
        spec = self.config.audio
        if self.config.posterior.input == "mel":
            return mel_spectrogram(audio, spec)
        return magnitudes(audio, spec.n_fft, spec.hop)

    def log_durations(
        self, prior: Prior, condition: Tensor | None, controls: Controls, generator: torch.Generator
    ) -> Tensor:
        """(B, 1, P) natural logarithm of frames, both predictors mixed by `sdp_ratio` (MeloTTS)."""
        ratio = controls.sdp_ratio if self.deterministic is not None else 1.0
        ratio = ratio if self.stochastic is not None else 0.0
        out = torch.zeros_like(prior.mask)
        if ratio > 0 and self.stochastic is not None:
            noise = torch.randn(len(out), 2, out.shape[2], generator=generator).to(out) * controls.noise_scale_w
            logs = self.stochastic.sample(prior.hidden, prior.mask, noise, condition)
            if self.config.rounding == "nearest":  # it learns durations less a fraction, half a frame on average
                logs = (logs.exp() + 0.5).log() * prior.mask
            out = out + ratio * logs
        if ratio < 1 and self.deterministic is not None:
            out = out + (1 - ratio) * self.deterministic(prior.hidden, prior.mask, condition)
        return out

    def frames(self, log_durations: Tensor, mask: Tensor, speed: float) -> Tensor:
        """log_durations, mask (B, 1, P) -> whole frames (B, P) long; `nearest` gives at least one a phone."""
        exact = (log_durations.exp() * mask)[:, 0] / speed
        if self.config.rounding == "up":
            return exact.ceil().long()
        ends = exact.double().cumsum(1).round().long()
        whole = torch.diff(ends, dim=1, prepend=ends.new_zeros(len(ends), 1))
        return torch.maximum(whole, mask[:, 0].long())

    def latents(
        self, prior: Prior, frames: Tensor, condition: Tensor | None, noise_scale: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """frames (B, P) of each phone -> latents (B, C, T) drawn from the prior through the flow, lengths (B,)."""
        lengths = frames.sum(1).clamp_min(1)
        longest = int(lengths.max())
        mask = sequence_mask(lengths, longest)
        mean, log_std = spread(prior.mean, frames, longest), spread(prior.log_std, frames, longest)
        z = sampled(mean, log_std, mask, generator, noise_scale)
        return self.flow(z, mask, condition, reverse=True), lengths

    def sound(self, z: Tensor, lengths: Tensor, condition: Tensor | None, generator: torch.Generator) -> list[Tensor]:
        """Latents (B, C, T) -> a waveform (length * hop,) a row.

        Each row is decoded by itself: what lies past its end could be heard in its last frames otherwise.
        """
        out = []
        for i, length in enumerate(lengths.tolist()):
            own = None if condition is None else condition[i : i + 1]
            noise = None
            if self.decoder.noisy:
                noise = torch.randn(1, length * self.config.audio.hop, generator=generator).to(z)
            out.append(self.decoder(z[i : i + 1, :, :length], own, noise)[0])
        return out

    def synthesise(
        self,
        text: TextInput,
        speakers: Tensor | None,
        accents: Tensor | None,
        controls: Controls,
        generator: torch.Generator,
    ) -> list[Tensor]:
        """Text -> a waveform (L,) a row, at the AudioSpec's rate.

        Raises:
            ValueError: a duration that no phone has, as spoilt weights predict; word vectors: see TextEncoder.
        """
        condition = self.condition(speakers, accents)
        prior = self.encode_text(text, condition)
        logs = self.log_durations(prior, condition, controls, generator)
        if not logs.max() <= LONGEST:  # so for NaN, too
            raise ValueError(
                f"a phone would last exp({float(logs.max()):g}) frames; the checkpoint is spoilt: restore it"
            )
        frames = self.frames(logs, prior.mask, controls.speed)
        z, lengths = self.latents(prior, frames, condition, controls.noise_scale, generator)
        return self.sound(z, lengths, condition, generator)

    def convert(
        self,
        audio: Tensor,
        source: Tensor | None,
        target: Tensor | None,
        generator: torch.Generator,
        noise_scale: float = 0.0,
    ) -> Tensor:
        """Sound of one speaker as another says it (VITS, section 4.4): audio (1, L) -> waveform (T * hop,).

        Args:
            source, target: (1, G, 1) who is heard and who shall be; see `condition`.
        """
        spectrogram = self.spectrogram(audio)
        mask = spectrogram.new_ones(1, 1, spectrogram.shape[2])
        heard, log_std = self.posterior(spectrogram, mask, source)
        z = sampled(heard, log_std, mask, generator, noise_scale)
        z = self.flow(self.flow(z, mask, source), mask, target, reverse=True)
        return self.sound(z, torch.tensor([z.shape[2]]), target, generator)[0]


def places(frames: Tensor, longest: int) -> Tensor:
    """frames (B, P) of each phone -> (B, longest) index of the phone that each frame is a part of.

    Frames past the end belong to the last phone that has any.
    """
    ends = frames.cumsum(1)
    at = torch.arange(longest, device=frames.device).expand(len(frames), -1).contiguous()
    last = (frames > 0).long().cumsum(1).argmax(1, keepdim=True)
    return torch.minimum(torch.searchsorted(ends, at, right=True), last)


def spread(values: Tensor, frames: Tensor, longest: int) -> Tensor:
    """values (B, C, P) of phones -> (B, C, longest) of their frames."""
    return gathered(values, places(frames, longest))


def gathered(values: Tensor, place: Tensor) -> Tensor:
    """values (B, C, P) at places (B, T) -> (B, C, T)."""
    return values.gather(2, place.unsqueeze(1).expand(-1, values.shape[1], -1))
