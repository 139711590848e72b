"""Transcripts that do not say what is spoken: a recogniser listens to every clip and its words are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.core.artifacts import ArtifactStore
from stages.core.audio import read_audio
from stages.core.hearing import RATE, count, normalise, recogniser
from stages.core.types import Audio
from stages.data.isolation import isolated

CHUNK = 8
"""clips that a process hears before their transcripts are kept"""


@dataclass(frozen=True)
class Spoken:
    """A clip and what its transcript says."""

    audio: Path
    text: str


@dataclass(frozen=True)
class Heard:
    """What the recogniser made of a clip."""

    words: str
    """normalised; '' = nothing"""
    reference: str
    """the transcript's spoken form, normalised"""
    cer: float
    """character errors over the reference's characters; may pass 1"""


def hear(
    clips: Sequence[Spoken],
    by: str = "pocketsphinx",
    workers: int = 1,
    store: ArtifactStore | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Heard | None]:
    """Listens to every clip (English) and compares, in order; None for a clip that ends the recogniser's process.

    The transcript is compared in the form that the text stage speaks ("1984" as "nineteen eighty four").

    Args:
        by: a recogniser of `stages.core.hearing`.
        workers: processes.
        store: transcripts by sound and recogniser are kept there as they are made.
        progress: told (clips heard, clips).

    Raises:
        ConfigError: unknown recogniser, or its package is not installed.
        ValueError: a transcript without words.
        AudioError: a clip that cannot be read.
    """
    if not clips:
        return []
    recogniser(by)  # refused before any work
    known, words = _known(), dict[Path, str | None]()
    sounds = list(dict.fromkeys(c.audio for c in clips))
    for paths, heard in isolated(_listen, (by, store), sounds, workers, lambda path: None, CHUNK, 2 * CHUNK):
        words.update(zip(paths, heard, strict=True))
        if progress:
            progress(len(words), len(sounds))
    return [_compared(clip.text, words[clip.audio], known) for clip in clips]


def _listen(paths: list[Path], by: str, store: ArtifactStore | None) -> list[str | None]:
    """What is heard in some clips, in a worker process."""
    from stages.evaluation.intelligibility import transcribe

    return list(transcribe([Audio(read_audio(path, RATE), RATE) for path in paths], recogniser(by), 1, store))


def _compared(text: str, words: str | None, known: Callable[[str], bool]) -> Heard | None:
    if words is None:
        return None
    reference = spoken_form(text, known)
    errors = count(reference, words)
    return Heard(words, reference, errors.character_errors / errors.characters)


def _known() -> Callable[[str], bool]:
    from stages.text.g2p import G2P

    return G2P().known


def spoken_form(text: str, known: Callable[[str], bool]) -> str:
    """The words that the text stage speaks for a transcript, normalised; its own letters where it speaks nothing."""
    from stages.text.normalize import normalize

    try:
        words = normalise(" ".join(normalize(text, known).words))
    except ValueError:  # inline phones of another alphabet
        words = ""
    return words or normalise(text)
