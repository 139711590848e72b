"""How much one sentence differs from seed to seed: in spectrum (MCD), tempo and pitch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.audio import AudioSpec
from stages.core.types import Audio
from stages.evaluation.distortion import log_mel, mel_cepstral_distortion
from stages.evaluation.levels import NotMeasurable, sound
from stages.evaluation.prosody import mean_log_f0


@dataclass(frozen=True)
class Diversity:
    """One sentence over several seeds."""

    clips: int
    mcd: float
    """dB, mean over all pairs"""
    duration_cv: float
    """standard deviation of the seconds over their mean"""
    pitch_spread: float | None
    """standard deviation of the mean ln F0; None when fewer than two are voiced"""
    unvoiced: int
    """clips that `pitch_spread` does not have"""


def diversity(clips: Sequence[Audio | None], spec: AudioSpec | None = None) -> Diversity:
    """Of one sentence, a clip for each seed, at the rate of `spec`.

    Raises:
        NotMeasurable: fewer than two clips, or one of them has no sound: a failed seed is no diversity.
    """
    spec = spec or AudioSpec()
    if len(clips) < 2:
        raise NotMeasurable("one clip has no diversity; give two seeds or more")
    seconds, mels, pitches = [], [], []
    for number, clip in enumerate(clips):
        try:
            sound(clip)
        except NotMeasurable as error:
            raise NotMeasurable(f"seed {number} of {len(clips)}: {error}") from None
        assert clip is not None
        seconds.append(clip.samples.size / clip.sample_rate)
        mels.append(log_mel(clip, spec))
        try:
            pitches.append(mean_log_f0(clip, spec))
        except NotMeasurable:
            pass  # counted in `unvoiced`
    pairs = [mel_cepstral_distortion(a, b) for a, b in itertools.combinations(mels, 2)]
    return Diversity(
        len(clips),
        float(np.mean(pairs)),
        float(np.std(seconds, ddof=1) / np.mean(seconds)),
        float(np.std(pitches, ddof=1)) if len(pitches) > 1 else None,
        len(clips) - len(pitches),
    )
