"""What the vits stage is asked for, and what it needs and gives; importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from stages.core.stage import StageSpec
from stages.core.types import Audio, Phonemes, Tones, Voice, WordVectors
from stages.vits import cast

SLOWEST, FASTEST = 0.25, 4.0
"""speeds beyond which a sentence is no speech any more"""
LARGEST_NOISE = 2.0
"""standard deviations; the models are trained with 1"""


@dataclass(frozen=True)
class VitsConfig:
    """`vits.*` of `--set`. The names are those of VITS (Kim et al. 2021) and MeloTTS."""

    checkpoint: str = "artifacts/starter/vits"
    speaker: str = ""
    """of the checkpoint; empty = the one whose named voice `--voice` gives"""
    accent: str = ""
    """of the checkpoint; empty = the speaker's own"""
    language: str = ""
    """of the checkpoint; empty = its first"""
    speed: float = 1.0
    """2 = in half the time; durations are divided by it"""
    noise_scale: float = 0.667
    """of the prior: how much the sound varies"""
    noise_scale_w: float = 0.8
    """of the stochastic duration predictor: how much the rhythm varies; both 0 = the same sound on every seed"""
    sdp_ratio: float = 0.2
    """share of the stochastic duration predictor in a duration's logarithm, the rest is of the deterministic one; a
    checkpoint with one of the two uses that one"""

    def __post_init__(self) -> None:
        if not SLOWEST <= self.speed <= FASTEST:
            raise ValueError(f"speed is {self.speed:g}; give {SLOWEST:g} (slow) to {FASTEST:g} (fast), 1 is as trained")
        for name in ("noise_scale", "noise_scale_w"):
            if not 0.0 <= getattr(self, name) <= LARGEST_NOISE:
                raise ValueError(f"{name} is {getattr(self, name):g}; give 0 (steady) to {LARGEST_NOISE:g}")
        if not 0.0 <= self.sdp_ratio <= 1.0:
            raise ValueError(f"sdp_ratio is {self.sdp_ratio:g}; give 0 (deterministic durations) to 1 (stochastic)")


SPEC = StageSpec(
    "vits",
    1,
    VitsConfig,
    needs=(Phonemes, Voice),
    gives=Audio,
    accepts=(Tones, WordVectors),
    content=cast.content,
    check=cast.check,
    check_voice=cast.check_voice,
)
