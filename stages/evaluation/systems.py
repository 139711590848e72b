"""What is compared: the teacher, the chain, the chain with another pick, and stages fed with the truth.

A system speaks the bench's sentences in the bench's voice: one function and one line in SYSTEMS.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.core import checkpoint, symbols
from stages.core.config import ConfigError, near_miss
from stages.core.execute import resident
from stages.core.fingerprint import digest
from stages.core.pipeline import Pipeline
from stages.core.route import Route
from stages.core.seeding import item_seed
from stages.core.types import Audio, Mel, Phonemes, RankedCodes, SpeechCodes, Voice, Word
from stages.data.codes import code_places, codebook_of
from stages.evaluation.bench import Bench, Clip, Output
from stages.evaluation.chain import chain, node_of, oracle, random_pick
from stages.evaluation.intelligibility import normalise
from stages.evaluation.speed import StageSpeed


def teacher(bench: Bench) -> Output:
    """flite itself: the reference."""
    return Output(bench.teacher)


def vocoded(bench: Bench) -> Output:
    """Teacher's sound -> true mel -> vocoder."""
    return _from_truth(bench, [], lambda truth, index: truth)


def decoded(bench: Bench) -> Output:
    """Teacher's mel -> speech codes -> the tokenizer's own decoder -> vocoder."""
    tokenizer = Tokenizer(bench)
    speeds = [_Clock("codes")]

    def mel(truth: Mel, index: int) -> Mel:
        codes = tokenizer.encode(truth)
        with speeds[0]:
            return tokenizer.decode(codes)

    return _from_truth(bench, speeds, mel)


def diffused(bench: Bench) -> Output:
    """Teacher's mel -> speech codes -> diffusion -> vocoder."""
    tokenizer = Tokenizer(bench)
    node = node_of(bench.route, Mel)
    stage, lock, _ = resident(node, bench.route.devices[0])
    clock = _Clock(node.spec.name)

    def mel(truth: Mel, index: int) -> Mel:
        ranked = RankedCodes(tokenizer.encode(truth, bench.teacher[index].phones), 0)
        seed = item_seed(bench.seed, "evaluation.diffusion", digest([bench.sentences[index].text, bench.voice.digest]))
        item = {RankedCodes: ranked, Voice: bench.voice, str: bench.sentences[index].text}
        with lock, clock:
            return _one(stage, item, seed if node.spec.random else 0)

    return _from_truth(bench, [clock], mel)


class _Clock:
    """Adds up the seconds of a stage, and the seconds of the sound that came of it."""

    def __init__(self, stage: str):
        self.stage, self.seconds, self.audio_seconds = stage, 0.0, 0.0

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._start

    def speed(self) -> StageSpeed:
        """What it took."""
        return StageSpeed(self.stage, self.seconds, self.audio_seconds)


def _from_truth(bench: Bench, clocks: list[_Clock], make: Callable[[Mel, int], Mel]) -> Output:
    """Teacher's mel -> `make` -> vocoder, item by item; an item that fails has its error in its clip."""
    node = node_of(bench.route, Audio)
    stage, lock, _ = resident(node, bench.route.devices[0])
    clock = _Clock(node.spec.name)

    def one(index: int) -> Clip:
        truth_sound = bench.teacher[index]
        if truth_sound.audio is None:
            return Clip(None, f"the teacher has no sound for it: {truth_sound.error}")
        truth = bench.mel(truth_sound.audio)
        try:
            made = make(truth, index)
            frames = made.frames[: len(truth.frames)]  # codes cover whole strides: what is past the end was padding
            mel = Mel(np.ascontiguousarray(frames), made.spec)
            seed = item_seed(bench.seed, "evaluation.vocoder", digest(bench.sentences[index].text))
            item = {Mel: mel, Voice: bench.voice, str: bench.sentences[index].text}
            with lock, clock:
                audio = _one(stage, item, seed if node.spec.random else 0)
        except (OSError, ConfigError, checkpoint.CheckpointError):
            raise  # the machine's fault or the configuration's, not an item's
        except Exception as error:  # any fault of a model on one item must not stop the others; it is reported
            return Clip(None, " ".join(str(error).split()) or type(error).__name__)
        for each in (*clocks, clock):
            each.audio_seconds += audio.samples.size / audio.sample_rate
        own = frames if clocks else bench.mel(audio).frames  # the mel that is judged: of the stage, or of the vocoder
        return Clip(audio, mel=own[: len(truth.frames)])

    clips = []
    for index in range(len(bench.sentences)):
        clips.append(one(index))
        bench.advance(1)
    return Output(clips, [c.speed() for c in (*clocks, clock)])


def _one(stage: Any, item: dict[type, Any], seed: int) -> Any:
    (value,) = stage.run([item], seeds=[seed])
    return value


MOVES = 3
"""phones that a code may move on by at most, as the decoder's pointer does"""


class Tokenizer:
    """The speech tokenizer's checkpoint as a pair of functions. Raises CheckpointError when it cannot be used."""

    def __init__(self, bench: Bench):
        from stages.codes.model import CodesModelConfig, SpeechTokenizer

        found = checkpoint.read(bench.codes, "codes")
        config = checkpoint.model_config(found, CodesModelConfig)
        if config.audio.digest != bench.spec.digest:
            raise checkpoint.CheckpointError(
                f"{bench.codes}: was trained on another mel than the vocoder; use checkpoints of one AudioSpec"
            )
        self.model = SpeechTokenizer(config)
        checkpoint.load_strict(self.model, found)
        self.model.eval()
        self.codebook = codebook_of(bench.codes)
        self.spec = config.audio
        self.reference = bench.mel(bench.voice.clip).frames  # (R, M)

    def encode(self, mel: Mel, timings: Sequence[tuple[str, float]] = ()) -> SpeechCodes:
        """mel (T, M) -> codes (ceil(T / stride),), which know their phones where (symbol, end in s) are given."""
        import torch

        with torch.inference_mode():
            codes = self.model.encode(torch.from_numpy(mel.frames)[None])[0].numpy()
        if not timings:
            return SpeechCodes(codes, self.codebook)
        said, ends = zip(*timings, strict=True)
        places = code_places(np.array(ends), len(mel.frames), self.model.stride, self.spec.frame_rate, MOVES)
        return SpeechCodes(codes, self.codebook, np.array(symbols.ids(said), dtype=np.int64)[places])

    def decode(self, codes: SpeechCodes) -> Mel:
        """codes (N,) -> mel (N * stride, M) in the bench's voice."""
        import torch

        from stages.nn.conditioning import reference_windows

        with torch.inference_mode():
            values = self.model.quantizer.decode(torch.from_numpy(codes.codes)[None])
            windows = reference_windows(torch.from_numpy(self.reference), self.spec.silence)
            voice = self.model.voice(windows).mean(0, keepdim=True)  # as the diffusion stage hears it
            mel = self.model.to_mel(self.model.features(values, voice))[0]
        return Mel(np.ascontiguousarray(mel.numpy()), self.spec.digest)


@dataclass(frozen=True)
class System:
    """How to run a system, and what it needs."""

    run: Callable[[Bench], Output]
    teacher: bool = False
    """needs the teacher's sound"""
    chain: bool = False
    """needs every checkpoint of the route"""
    gives: tuple[type, ...] = ()
    """stages of the route that must be there: those fed with the truth, or the one whose pick is replaced"""
    reads: tuple[type, ...] = ()
    """what the first stage of `gives` must read"""
    codes: bool = False
    """needs the checkpoint of the speech tokenizer"""


SYSTEMS = {
    "teacher": System(teacher, teacher=True),
    "pipeline": System(chain, chain=True),
    "random": System(random_pick, chain=True, gives=(RankedCodes,)),
    "oracle": System(oracle, chain=True, gives=(RankedCodes,)),
    "vocoder": System(vocoded, teacher=True, gives=(Audio,), reads=(Mel,)),
    "codes": System(decoded, teacher=True, gives=(Audio,), reads=(Mel,), codes=True),
    "diffusion": System(diffused, teacher=True, gives=(Mel, Audio), reads=(RankedCodes,), codes=True),
}


def check_weights(name: str, route: Route, codes: str) -> None:
    """Refuses a stage or weights that system `name` lacks, before any work.

    Raises:
        CheckpointError: weights that are missing, or that were not trained for each other.
        ConfigError: a stage that the route does not have.
    """
    system = SYSTEMS[name]
    for kind in system.gives:
        node = node_of(route, kind)
        if kind is system.gives[0] and not set(system.reads) <= set(node.spec.needs):
            wanted = ", ".join(k.__name__ for k in system.reads)
            raise ConfigError(
                f"system {name!r} feeds stage {node.spec.name!r} of route {route.name!r} with {wanted}, "
                "which it does not read; leave that system out"
            )
        for folder in node.checkpoints.values():
            checkpoint.read_meta(folder)
    if system.chain:
        Pipeline(route)
    if system.codes:
        checkpoint.read_meta(codes)


def check_system(name: str) -> None:
    """Raises ConfigError, naming the near miss, for an unknown system."""
    if name not in SYSTEMS:
        raise ConfigError(f"unknown system {name!r}{near_miss(name, SYSTEMS)}")


def references(route: Route, texts: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """What the route's text stage says to speak for every text: (words normalised, phones without pauses).

    Both are empty where nothing can be spoken.

    Raises:
        ConfigError: the route has no text stage.
    """
    from stages.core.pipeline import splitter
    from stages.core.stage import NothingToSay

    node = node_of(route, Phonemes)
    stage, lock, _ = resident(node, route.devices[0])
    split = splitter()

    def spoken(sentence: str) -> tuple[Word, ...]:
        try:
            words: tuple[Word, ...] = _one(stage, {str: sentence}, 0).words
            return words
        except NothingToSay:
            return ()

    with lock:
        found = [[word for s in split(text) if s.strip() for word in spoken(s)] for text in texts]
    return [
        (normalise(" ".join(word.spoken for word in words)), tuple(p for word in words for p in word.phones))
        for words in found
    ]
