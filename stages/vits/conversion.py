"""Voice conversion: what one speaker of a model says, said by another (VITS, section 4.4). Plain Python.

The sound's latents go through the flow as the one speaker's and back through it as the other's. Long sound is done in
windows that know what is around them, so that memory does not grow with length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.core import voices
from stages.core.audio import read_audio
from stages.core.checkpoint import CheckpointError
from stages.core.config import ConfigError
from stages.core.hearing import RATE
from stages.core.route import Route
from stages.core.seeding import generator, item_seed
from stages.core.speakers import embed
from stages.core.types import Audio
from stages.vits import cast
from stages.vits.config import VitsConfig
from stages.vits.model import Vits
from stages.vits.stage import levelled, load_model, row

WINDOW, CONTEXT = 20.0, 2.0
"""seconds converted at a time, and known on either side of them: more than the papers' networks hear (1.7 s)"""
FADE = 0.02
"""seconds in which one window's sound turns into the next one's"""
OF_TEXT = ("speaker", "accent", "language", "speed")
"""settings that conversion does not read"""
LEAST = 1.0
"""seconds of speech without which nobody can tell who speaks"""


@dataclass(frozen=True)
class Job:
    """What is asked for, checked."""

    config: VitsConfig
    cast: cast.Cast
    source: str
    """a speaker of the model; empty = the one whose named voice is most like the sound"""
    target: str


@dataclass(frozen=True)
class Converted:
    """A sound in another voice."""

    audio: Audio
    source: str
    target: str
    similarity: float | None
    """cosine of the source to its named voice, where nobody said who it is"""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        seconds = round(self.audio.samples.size / self.audio.sample_rate, 3)
        likeness = None if self.similarity is None else round(self.similarity, 4)
        return {"from": self.source, "voice": self.target, "similarity": likeness, "audio_seconds": seconds}

    def told(self) -> str:
        """For people."""
        guess = "" if self.similarity is None else f" (by likeness, cosine {self.similarity:.2f}; say --from if not)"
        return f"{self.source}{guess} -> {self.target}"


def plan(route: Route, voice: str, source: str) -> Job:
    """Checks everything that needs no weights.

    Args:
        voice: a speaker of the model, or what `voices.load_voice` takes and is one of them.

    Raises:
        ConfigError: a route without a stage vits, a model of one speaker, or a speaker that there is not.
        CheckpointError, VoiceError, AudioError
    """
    config = next((node.config for node in route.nodes if node.spec.name == cast.STAGE), None)
    if config is None:
        raise ConfigError(f"route {route.name!r} has no stage {cast.STAGE!r}, which converts; give --pipeline vits")
    found = cast.read_cast(config.checkpoint)
    if len(found.speakers) < 2:
        raise ConfigError(f"{found.folder} knows one speaker only; name a checkpoint of several")
    idle = next((name for name in OF_TEXT if getattr(config, name) != getattr(VitsConfig(), name)), None)
    if idle:
        raise ConfigError(f"vits.{idle} changes nothing in a conversion, which keeps what the sound has; leave it out")
    if voice not in found.speakers:
        voice = _named(found, voice)
    if source:
        cast.speaker_row(found, source)
    elif not cast.named_voices(found):
        raise ConfigError(
            f"none of the speakers of {found.folder} is a named voice to compare with; say who speaks with --from"
        )
    return Job(config, found, source, voice)


def _named(found: cast.Cast, voice: str) -> str:
    """The speaker whose named voice that is. Raises ConfigError, naming the speakers; VoiceError, AudioError."""
    if not Path(voice).is_file() and voice not in [entry.name for entry in voices.list_voices()]:
        cast.speaker_row(found, voice)
    given = voices.load_voice(voice)
    row = cast.row_of(found, given)
    if row is None:
        raise cast.stranger(found, given, "give one of them as --voice")
    return found.speakers[row]


def convert(job: Job, path: str | Path, seed: int, device: str = "cpu") -> Converted:
    """A sound file of any length and rate in the target's voice, at the model's rate.

    Raises:
        AudioError: a file that cannot be read.
        ConfigError: too little speech to tell who speaks.
        CheckpointError: weights that do not fit.
    """
    source, similarity = (job.source, None) if job.source else _likeliest(job.cast, path)
    model, _ = load_model(job.config.checkpoint, device)
    rate = model.config.audio.sample_rate
    samples = torch.from_numpy(read_audio(path, rate)).to(device)
    config = job.config
    with torch.inference_mode():
        was, shall = (_condition(model, job.cast, config, name, device) for name in (source, job.target))
        wave = _windowed(model, samples, was, shall, config.noise_scale, seed)
    if not wave.isfinite().all():
        raise CheckpointError(f"{job.cast.folder}: gives samples that are not numbers; restore the checkpoint")
    return Converted(Audio(levelled(wave), rate), source, job.target, similarity)


def _condition(model: Vits, found: cast.Cast, config: VitsConfig, name: str, device: str) -> Tensor | None:
    """A speaker in the accent of its own: an accent that was asked for would be one of text, not of this sound."""
    part = cast.part_of(found, VitsConfig(config.checkpoint), found.speakers.index(name))
    return model.condition(row(part.speaker, device), row(part.accent, device))


def _windowed(
    model: Vits, samples: Tensor, source: Tensor | None, target: Tensor | None, noise_scale: float, seed: int
) -> Tensor:
    """samples (L,) -> (L,), window by window."""
    spec = model.config.audio
    fade = round(FADE * spec.sample_rate)
    parts: list[Tensor] = []
    for number, (start, end, before, after) in enumerate(_windows(samples.shape[0], spec.sample_rate, spec.hop)):
        # each window draws from a generator of its own, so that what follows cannot change it
        draws = generator(item_seed(seed, "vits.conversion", str(number)))
        wave = model.convert(samples[None, before:after], source, target, draws, noise_scale)
        lead = min(fade, start - before)
        own = wave[start - before - lead : end - before]
        if parts and lead:
            ramp = torch.linspace(0.0, 1.0, lead, device=own.device)
            parts[-1][-lead:] = parts[-1][-lead:] * (1 - ramp) + own[:lead] * ramp
        parts.append(own[lead:].clone())
    return torch.cat(parts)


def _windows(length: int, rate: int, hop: int) -> Iterator[tuple[int, int, int, int]]:
    """(start, end, start of what is known, its end) of every window, starts on frames; the last one is never short."""
    size, context = (round(seconds * rate / hop) * hop for seconds in (WINDOW, CONTEXT))
    start = 0
    while start < length:
        end = length if length - start <= size + context else start + size
        yield start, end, max(0, start - context), min(length, end + context)
        start = end


def _likeliest(found: cast.Cast, path: str | Path) -> tuple[str, float]:
    """The speaker whose named voice is most like the sound, and the cosine. Raises ConfigError: too little speech."""
    heard = embed(Audio(read_audio(path, RATE), RATE), LEAST)
    if heard is None:
        raise ConfigError(f"{path}: holds less than {LEAST:g} s of speech, too little to tell who speaks; say --from")
    known = {}
    for name in cast.named_voices(found):
        own = embed(voices.load_voice(name).clip, LEAST)
        if own is not None:
            known[name] = float(heard @ own)
    if not known:
        raise ConfigError("the named voices hold too little speech to compare with; say who speaks with --from")
    best = max(known, key=lambda name: known[name])
    return best, known[best]
