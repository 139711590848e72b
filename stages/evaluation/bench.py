"""What every system gets and gives: the sentences, one voice, one route; and one clip a sentence."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stages.core.artifacts import ArtifactStore
from stages.core.audio import AudioSpec, mel_spectrogram, read_audio
from stages.core.config import ConfigError, near_miss
from stages.core.fingerprint import digest
from stages.core.pipeline import Pipeline
from stages.core.route import Route, audio_spec
from stages.core.types import Audio, Mel, Voice
from stages.data.corpora.starter import speak
from stages.evaluation.intelligibility import SILENCE, Recogniser
from stages.evaluation.speed import StageSpeed

Advance = Callable[[int], None]
"""is told that so many more sentences are done"""


@dataclass(frozen=True)
class Sentence:
    """One item of the test set."""

    id: str
    text: str
    reference: str
    """normalised spoken form: what the text stage was told to say"""
    phones: tuple[str, ...] = ()
    """of the words, without pauses"""


@dataclass(frozen=True, eq=False)
class Clip:
    """What a system gave for one sentence."""

    audio: Audio | None
    error: str | None = None
    mel: np.ndarray | None = None  # (T, M) normalised, frame-aligned with the teacher's, of the stage under test
    faults: tuple[str, ...] = ()
    phones: tuple[tuple[str, float], ...] = ()
    """(symbol, end in seconds), of the teacher, who knows them"""


@dataclass(frozen=True, eq=False)
class Output:
    """What a system gave for all sentences, in order."""

    clips: list[Clip]
    speeds: list[StageSpeed] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    """what a reader must know of it: files that belong to no sentence, rates that differ"""


@dataclass(eq=False)
class Bench:
    """One voice, one list of sentences, one route: what every system gets."""

    sentences: Sequence[Sentence]
    voice: Voice
    route: Route
    store: ArtifactStore
    recogniser: Recogniser
    seed: int = 0
    codes: str = "artifacts/starter/codes"
    """checkpoint folder of the speech tokenizer"""
    workers: int = 1
    advance: Advance = lambda done: None

    def pipeline(self) -> Pipeline:
        """A pipeline with a report of its own. Raises CheckpointError when weights are missing."""
        return Pipeline(self.route)

    @functools.cached_property
    def teacher(self) -> list[Clip]:
        """Every sentence as flite speaks it. Raises ConfigError when flite or its voice is not there."""
        return render_teacher([s.text for s in self.sentences], self.voice.name, self.store, self.workers)

    @functools.cached_property
    def spec(self) -> AudioSpec:
        """The AudioSpec of the vocoder's checkpoint; the default one where there are no weights."""
        return audio_spec(self.route) or AudioSpec()

    def mel(self, audio: Audio) -> Mel:
        """The true mel of a sound."""
        import torch

        with torch.inference_mode():
            frames = mel_spectrogram(torch.from_numpy(np.array(audio.samples, np.float32)), self.spec)
        return Mel(np.ascontiguousarray(frames.numpy().T), self.spec.digest)


def sounding(clip: Clip) -> Clip:
    """`clip`, or why it has no sound that could be measured: empty, silent, or samples that are not numbers."""
    if clip.audio is None:
        return clip
    samples = clip.audio.samples
    if samples.size == 0:
        return Clip(None, clip.error or "the sound is empty", faults=clip.faults)
    if not np.isfinite(samples).all():
        return Clip(None, clip.error or "the sound holds samples that are not numbers", faults=clip.faults)
    if np.abs(samples).max() < SILENCE:
        return Clip(None, clip.error or "the sound is silent (its peak is below -60 dB)", faults=clip.faults)
    return clip


def flite_voices() -> list[str]:
    """Voices that flite has. Raises ConfigError when flite is not installed."""
    try:
        done = subprocess.run(["flite", "-lv"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ConfigError("system 'teacher' needs flite, which is not installed; run `apt-get install flite`") from None
    return done.stdout.partition(":")[2].split()


def check_teacher(voice: str) -> None:
    """Refuses a voice that flite does not have: flite itself would speak in another one. Raises ConfigError."""
    known = flite_voices()
    if voice not in known:
        raise ConfigError(f"voice {voice!r} has no teacher: flite does not have it{near_miss(voice, known)}")


def render_teacher(texts: Sequence[str], voice: str, store: ArtifactStore, workers: int = 1) -> list[Clip]:
    """Has flite speak every text (kept in the store); a text that it fails on has its error in its clip."""
    check_teacher(voice)
    rate = AudioSpec().sample_rate

    def one(text: str) -> Clip:
        key = digest(["teacher", "flite", voice, text])
        audio = store.get(Audio, key) if store.has(key) else None
        phones = _timings(store, digest([key, "phones"]))
        if audio is not None and phones:
            return Clip(audio, phones=phones)
        with tempfile.TemporaryDirectory() as folder:
            try:
                phones = tuple(speak(voice, text, Path(folder) / "teacher.wav"))
            except RuntimeError as error:
                return Clip(None, " ".join(str(error).split()))
            audio = Audio(read_audio(Path(folder) / "teacher.wav", rate), rate)
        store.put(key, audio)
        store.write(digest([key, "phones"]), {}, {"type": "Timings", "phones": phones})
        return Clip(audio, phones=phones)

    with ThreadPoolExecutor(max(1, workers)) as pool:
        return list(pool.map(one, texts))


def _timings(store: ArtifactStore, key: str) -> tuple[tuple[str, float], ...]:
    entry = store.read(key) if store.has(key) else None
    return tuple((str(p), float(end)) for p, end in entry[1]["phones"]) if entry else ()
