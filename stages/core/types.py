"""The values that cross stage boundaries: frozen, typed, with shapes and units.

Arrays are numpy, so that planning, caching and the command line never import torch.
Shape legend (the whole repository): B batch, K candidates, P phones, N speech codes, T mel frames,
M mel channels, D model width, L audio samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

PAUSE = "pau"
"""The phone symbol of a pause: at both ends of an utterance and at phrase breaks."""


@dataclass(frozen=True)
class Word:
    """One spoken word and its phones (ARPAbet, lower case, no stress digits)."""

    spoken: str
    phones: tuple[str, ...]


@dataclass(frozen=True)
class Phonemes:
    """One sentence as phones.

    `symbols` (P) is what the models read: it starts and ends with a pause, has pauses at phrase breaks,
    and between pauses it is exactly the phones of `words` in order.
    """

    text: str
    words: tuple[Word, ...]
    symbols: tuple[str, ...]
    unspoken: tuple[str, ...] = ()
    """Pieces of the text that have no spoken form (emoji, other scripts…): reported, never hidden."""


NO_TONE, PRIMARY, SECONDARY, UNSTRESSED = range(4)
"""English tones: none (a consonant, a pause, a vowel of a word that nobody knows the stress of), and vowels' stress."""
TONES = 4


@dataclass(frozen=True)
class Tones:
    """The tone of every symbol of a sentence: in English, lexical stress."""

    tones: tuple[int, ...]  # (P,) 0 to TONES - 1


@dataclass(frozen=True)
class WordVectors:
    """A text encoder's vectors at the symbols of a sentence: each phone has that of its word."""

    vectors: np.ndarray  # (P, D) float32
    model: str
    """Digest of the encoder; a model reads the vectors of the one that it was trained with, and of no other."""


@dataclass(frozen=True)
class Mel:
    """Log-mel spectrogram; `spec` is the digest of the AudioSpec that made it."""

    frames: np.ndarray  # (T, M) float32
    spec: str


@dataclass(frozen=True)
class Audio:
    """Mono audio in [-1, 1]."""

    samples: np.ndarray  # (L,) float32
    sample_rate: int


@dataclass(frozen=True)
class Voice:
    """Who speaks: a named entry of `artifacts/voices/` or a clip the user gave."""

    name: str
    clip: Audio
    licence: str
    digest: str
    """sha256 over the clip's samples and rate; it enters every key that depends on the voice."""


@dataclass(frozen=True)
class SpeechCodes:
    """Speech tokens of one utterance."""

    codes: np.ndarray  # (N,) int64
    codebook: str
    """Digest of the tokenizer that owns the codebook."""
    phones: np.ndarray | None = None  # (N,) int64
    """Symbol id of the phone that each code is a part of; None = nobody knows."""


@dataclass(frozen=True)
class Candidate:
    """One sampled code sequence and what is known about it."""

    codes: SpeechCodes
    seed: int
    log_prob: float
    """Mean log-probability per code under the sampling distribution's model (nats)."""
    faults: tuple[str, ...] = ()
    """`truncated`, `loop`, `too_short`: marked, never hidden."""


@dataclass(frozen=True)
class Candidates:
    """All K candidates of one sentence."""

    items: tuple[Candidate, ...]


@dataclass(frozen=True)
class RankedCodes:
    """The chosen candidate with every score of every candidate, by judge."""

    codes: SpeechCodes
    chosen: int
    scores: dict[str, tuple[float, ...]] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pick:
    """A listener's wish: this candidate, whatever the judges say."""

    candidate: int


@dataclass(frozen=True)
class Heard:
    """What listeners measured in the sound of one candidate."""

    measures: dict[str, float]
    """`wer` and `cer` (rates), `similarity` (cosine to the voice), `seconds`…: of the listeners that were asked"""
    transcript: str | None = None
    """normalised words that the recogniser heard; None when none listened"""


@dataclass(frozen=True)
class Choice:
    """Which candidate's sound was taken after all were listened to."""

    chosen: int
    scores: dict[str, tuple[float, ...]]
    """by judge and candidate, higher is better"""
    faults: tuple[str, ...] = ()
    """of the chosen candidate; `below_threshold` when it is not what was asked for"""
    retries: int = 0
    """how often further candidates were sampled"""
    met: bool | None = None
    """whether the chosen one is as good as was asked for; None = no threshold was set"""
    transcript: str | None = None
    """what was heard in the chosen one"""
