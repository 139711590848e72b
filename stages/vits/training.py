"""What a training of VITS is told: which losses, how heavy, how texts and sounds are aligned."""

from __future__ import annotations

from dataclasses import dataclass, field

from stages.core.config import least, near_miss
from stages.nn.discriminators import DiscriminatorConfig

SEARCH, TIMINGS = "search", "timings"
LOG, MEAN = "log", "mean"
MEAN_FRAMES = 6.0
"""frames that a phone lasts or so: brings the Poisson loss to the size of the other one"""
NEVER = 1_000_000
"""a first step from which on nothing is meant to begin"""


@dataclass(frozen=True)
class VitsTrainingConfig:
    """The `objective:` part of configs/train/vits/….yaml; weights are those of the papers, 0 = not used."""

    positions: int = 6000
    """phones and frames a batch may hold"""
    alignment: str = SEARCH
    """search (monotonic alignment search) or timings (the corpus's own, of its speaker or an aligner)"""
    search_noise: float = 0.0
    """noise of the search (VITS2: 0.01), in units of the standard deviation of its values…"""
    search_noise_decay: float = 2e-6
    """…less so much each step"""
    crop: int = 0
    """frames taken of an utterance, 0 = all; needs timings"""
    speaker_repeats: dict[str, int] = field(default_factory=dict)
    """how often an epoch has the utterances of a speaker, where not once"""
    segment: int = 32
    """frames that are made sound"""
    sound_from: int = 0
    """first step that makes sound"""
    prior_share: float = 0.0
    """share of the sound segments that come from the prior's latents, as in synthesis, in place of the posterior's"""
    mel_weight: float = 45.0
    """L1 of the log-mel, in nepers"""
    stft_weight: float = 0.0
    pitch_weight: float = 0.1
    """of the source-filter decoder's pitch predictor"""
    kl_weight: float = 1.0
    duration_weight: float = 1.0
    duration_target: str = LOG
    """what the deterministic predictor learns: `log`, the mean logarithm (the papers; too fast, which rounding up makes
    good), or `mean`, the logarithm of the mean (a Poisson likelihood; for network.rounding: nearest)"""
    envelope_weight: float = 45.0
    """L1 of the source-filter decoder's log-mel, in nepers"""
    end_to_end_weight: float = 0.0
    """the same from the prior's latents (NaturalSpeech, Tan et al. 2022, section 3.3)"""
    end_to_end_noise: float = 0.667
    adversarial_weight: float = 6.0
    """of the mean over the discriminators: 1 for each of VITS's six, whose losses the paper adds up"""
    matching_weight: float = 62.0
    """of the mean over feature maps: 2 for each of the six discriminators' 31"""
    adversarial_from: int = 0
    discriminator_lr: float = 2e-4
    discriminators: DiscriminatorConfig = field(
        default_factory=lambda: DiscriminatorConfig(scales=1, scale_kind="vits", spectra=())
    )
    duration_adversarial_weight: float = 0.0
    """of the duration discriminator (VITS2), which goes with the sound's discriminators"""
    duration_adversarial_from: int = 0
    duration_filter: int = 192
    """width of the duration discriminator"""
    vocoder: str = ""
    """checkpoint of a source-filter vocoder that the decoder starts from; "" = from fresh weights"""
    bert: str = ""
    """folder of the encoder whose word vectors are heard (network.bert says how wide)"""

    def __post_init__(self) -> None:
        least(self, 1, "positions", "segment", "duration_filter")
        least(self, 0, "crop", *(name for name in vars(self) if name.endswith(("_weight", "_noise", "_decay", "_lr"))))
        if not 0.0 <= self.prior_share <= 1.0:
            raise ValueError(f"prior_share is {self.prior_share:g}; give 0 (posterior's latents) to 1 (prior's)")
        if self.alignment not in (SEARCH, TIMINGS):
            raise ValueError(f"unknown alignment {self.alignment!r}{near_miss(self.alignment, (SEARCH, TIMINGS))}")
        for speaker, times in self.speaker_repeats.items():
            if times < 1:
                raise ValueError(f"speaker_repeats has {speaker}: {times}; give 1 or more")
        if self.duration_target not in (LOG, MEAN):
            known = (LOG, MEAN)
            raise ValueError(
                f"unknown duration_target {self.duration_target!r}{near_miss(self.duration_target, known)}"
            )
        if self.duration_adversarial_weight and not self.adversarial_weight:
            raise ValueError("duration_adversarial_weight needs adversarial_weight; set both, or neither")
        if self.crop and self.alignment == SEARCH:
            raise ValueError("crop needs the timings of the phones; set alignment to timings, or crop to 0")
        if self.crop and self.crop < self.segment:
            raise ValueError(f"crop ({self.crop}) is shorter than segment ({self.segment}); give at least as much")
