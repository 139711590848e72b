"""What is compared: the teacher, the chain, the chain with another pick, and stages fed with the truth.

A system speaks the bench's sentences in the bench's voice: one function and one line in SYSTEMS.
"""

from __future__ import annotations

import functools
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.core import checkpoint
from stages.core.artifacts import ArtifactStore
from stages.core.audio import AudioSpec, mel_spectrogram, read_audio
from stages.core.config import ConfigError, build, near_miss, read_yaml
from stages.core.execute import resident
from stages.core.fingerprint import digest
from stages.core.pipeline import Pipeline, shard_size
from stages.core.route import Node, Route
from stages.core.seeding import item_seed
from stages.core.types import Audio, Candidates, Mel, Phonemes, RankedCodes, SpeechCodes, Voice
from stages.core.units import Document, Unit, shards
from stages.data.codes import codebook_of
from stages.data.corpora.starter import speak
from stages.evaluation.intelligibility import Recogniser, count, normalise, transcribe
from stages.evaluation.speed import StageSpeed, stage_speeds


@dataclass(frozen=True)
class Sentence:
    """One item of the test set."""

    id: str
    text: str
    reference: str
    """normalised spoken form: what the text stage was told to say"""


@dataclass(frozen=True, eq=False)
class Clip:
    """What a system gave for one sentence."""

    audio: Audio | None
    error: str | None = None
    mel: np.ndarray | None = None  # (T, M) normalised, frame-aligned with the teacher's, of the stage under test
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Output:
    """What a system gave for all sentences, in order."""

    clips: list[Clip]
    speeds: list[StageSpeed] = field(default_factory=list)


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

    def pipeline(self) -> Pipeline:
        """A pipeline with a report of its own. Raises CheckpointError when weights are missing."""
        return Pipeline(self.route)

    @functools.cached_property
    def teacher(self) -> list[Clip]:
        """Every sentence as flite speaks it. Raises ConfigError when flite or its voice is not there."""
        return render_teacher([s.text for s in self.sentences], self.voice.name, self.store, self.workers)

    @functools.cached_property
    def spec(self) -> AudioSpec:
        """The AudioSpec of the vocoder's checkpoint (the default one for a stage without weights)."""
        for folder in self.route.nodes[-1].checkpoints.values():
            path = checkpoint.locate(folder) / checkpoint.CONFIG
            values = read_yaml(path)
            return build(AudioSpec, values["audio"], f"{path}: audio") if "audio" in values else AudioSpec()
        return AudioSpec()

    def mel(self, audio: Audio) -> Mel:
        """The true mel of a sound."""
        import torch

        with torch.inference_mode():
            frames = mel_spectrogram(torch.from_numpy(np.array(audio.samples, np.float32)), self.spec)
        return Mel(np.ascontiguousarray(frames.numpy().T), self.spec.digest)


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
        if audio is not None:
            return Clip(audio)
        with tempfile.TemporaryDirectory() as folder:
            try:
                speak(voice, text, Path(folder) / "teacher.wav")
            except RuntimeError as error:
                return Clip(None, " ".join(str(error).split()))
            audio = Audio(read_audio(Path(folder) / "teacher.wav", rate), rate)
        store.put(key, audio)
        return Clip(audio)

    with ThreadPoolExecutor(max(1, workers)) as pool:
        return list(pool.map(one, texts))


def teacher(bench: Bench) -> Output:
    """flite itself: the reference."""
    return Output(bench.teacher)


def chain(bench: Bench) -> Output:
    """The whole chain."""
    pipeline = bench.pipeline()
    documents = _documents(bench, pipeline)
    pipeline.compute(documents, bench.store)
    return _spoken(bench, pipeline, documents, timed=True)


def random_pick(bench: Bench) -> Output:
    """The chain with a seeded random candidate in the place of the reranked one."""

    def pick(unit: Unit, candidates: int) -> int:
        return random.Random(item_seed(bench.seed, "evaluation.random", unit.key)).randrange(candidates)

    pipeline = bench.pipeline()
    documents = _documents(bench, pipeline)
    pipeline.compute(documents, bench.store)
    picked = [_mapped(d, lambda u: _pick_if_there(pipeline, bench, u, pick)) for d in documents]
    _finish(pipeline, [u for d in picked for u in d.units], bench.store)
    return _spoken(bench, pipeline, picked)


def oracle(bench: Bench) -> Output:
    """The chain with the candidate that is recognised best (ties: fewer character errors, then the reranked one)."""
    pipeline = bench.pipeline()
    documents = _documents(bench, pipeline)
    pipeline.compute(documents, bench.store)
    units = [u for d in documents for u in d.units if u.key not in pipeline.report.stopped]
    options = {u.key: _all_picks(pipeline, bench, u) for u in units}
    every = {o.key: o for picks in options.values() for o in picks}
    _finish(pipeline, list(every.values()), bench.store)
    sounds = [bench.store.get(Audio, key) for key in every]
    heard = dict(zip(every, transcribe(sounds, bench.recogniser, bench.workers, bench.store), strict=True))

    def best(unit: Unit) -> Unit:
        reference = _unit_reference(pipeline, unit, bench.store)
        if unit.key not in options or not reference:
            return unit
        scored = [(count(reference, heard[o.key]), o) for o in options[unit.key]]
        return min(scored, key=lambda pair: (pair[0].word_errors, pair[0].character_errors))[1]

    return _spoken(bench, pipeline, [_mapped(d, best) for d in documents])


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
    node = _node_of(bench.route, Mel)
    stage, lock, _ = resident(node, bench.route.devices[0])
    clock = _Clock(node.spec.name)

    def mel(truth: Mel, index: int) -> Mel:
        ranked = RankedCodes(tokenizer.encode(truth), 0)
        seed = item_seed(bench.seed, "evaluation.diffusion", digest([bench.sentences[index].text, bench.voice.digest]))
        item = {RankedCodes: ranked, Voice: bench.voice, str: bench.sentences[index].text}
        with lock, clock:
            return _one(stage, item, seed if node.spec.random else 0)

    return _from_truth(bench, [clock], mel)


@dataclass(frozen=True)
class System:
    """How to run a system, and what it needs."""

    run: Callable[[Bench], Output]
    teacher: bool
    """needs the teacher's sound"""
    chain: bool = False
    """needs every checkpoint of the route"""
    gives: tuple[type, ...] = ()
    """stages of the route that it feeds with the truth"""
    codes: bool = False
    """needs the checkpoint of the speech tokenizer"""


SYSTEMS = {
    "teacher": System(teacher, teacher=True),
    "pipeline": System(chain, teacher=False, chain=True),
    "random": System(random_pick, teacher=False, chain=True),
    "oracle": System(oracle, teacher=False, chain=True),
    "vocoder": System(vocoded, teacher=True, gives=(Audio,)),
    "codes": System(decoded, teacher=True, gives=(Audio,), codes=True),
    "diffusion": System(diffused, teacher=True, gives=(Mel, Audio), codes=True),
}


def check_weights(names: Sequence[str], route: Route, codes: str) -> None:
    """Refuses missing weights before any work. Raises CheckpointError, or ConfigError for a stage that is not there."""
    if any(SYSTEMS[name].chain for name in names):
        Pipeline(route)
    for kind in {kind for name in names for kind in SYSTEMS[name].gives}:
        for folder in _node_of(route, kind).checkpoints.values():
            checkpoint.read_meta(folder)
    if any(SYSTEMS[name].codes for name in names):
        checkpoint.read_meta(codes)


def check_system(name: str) -> None:
    """Raises ConfigError, naming the near miss, for an unknown system."""
    if name not in SYSTEMS:
        raise ConfigError(f"unknown system {name!r}{near_miss(name, SYSTEMS)}")


def references(route: Route, texts: Sequence[str]) -> list[str]:
    """The spoken form that the route's text stage makes of every text, normalised ('' where nothing can be spoken).

    Raises:
        ConfigError: the route has no text stage.
    """
    from stages.core.pipeline import splitter
    from stages.core.stage import NothingToSay

    node = _node_of(route, Phonemes)
    stage, lock, _ = resident(node, route.devices[0])
    split = splitter()

    def spoken(sentence: str) -> str:
        try:
            return " ".join(word.spoken for word in _one(stage, {str: sentence}, 0).words)
        except NothingToSay:
            return ""

    with lock:
        return [normalise(" ".join(spoken(s) for s in split(text) if s.strip())) for text in texts]


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

    def encode(self, mel: Mel) -> SpeechCodes:
        """mel (T, M) -> codes (ceil(T / stride),)."""
        import torch

        with torch.inference_mode():
            return SpeechCodes(self.model.encode(torch.from_numpy(mel.frames)[None])[0].numpy(), self.codebook)

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
    node = _node_of(bench.route, Audio)
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

    clips = [one(index) for index in range(len(bench.sentences))]
    return Output(clips, [c.speed() for c in (*clocks, clock)])


def _one(stage: Any, item: dict[type, Any], seed: int) -> Any:
    (value,) = stage.run([item], seeds=[seed])
    return value


def _node_of(route: Route, kind: type) -> Node:
    """The stage that gives `kind`. Raises ConfigError when the route has none."""
    for node in reversed(route.nodes):
        if node.spec.gives is kind:
            return node
    raise ConfigError(f"route {route.name!r} has no stage that gives {kind.__name__}; leave that system out")


def _index_of(pipeline: Pipeline, kind: type) -> int:
    return pipeline.route.nodes.index(_node_of(pipeline.route, kind))


def _documents(bench: Bench, pipeline: Pipeline) -> list[Document]:
    return [pipeline.document(s.text, bench.voice, bench.seed) for s in bench.sentences]


def _mapped(document: Document, change: Callable[[Unit], Unit]) -> Document:
    return replace(document, paragraphs=tuple(tuple(change(u) for u in p) for p in document.paragraphs))


def repicked(pipeline: Pipeline, bench: Bench, unit: Unit, candidate: int) -> Unit:
    """`unit` with another of its candidates chosen; the reranker's own pick gives `unit` itself.

    Raises ConfigError when the store no longer has the reranker's choice.
    """
    ranked = bench.store.get(RankedCodes, unit.steps[_index_of(pipeline, RankedCodes)].keys[0])
    if ranked is None:
        raise ConfigError(
            f"{bench.store.where}: the choice for {unit.text[:40]!r} is no longer in the cache; name an empty one "
            "with --set cache.dir=PATH"
        )
    if ranked.chosen == candidate:
        return unit
    return pipeline.unit(unit.text, unit.voice, bench.seed, pick=candidate)


def _all_picks(pipeline: Pipeline, bench: Bench, unit: Unit) -> list[Unit]:
    """`unit` with each of its candidates, the reranked one first."""
    count_ = len(unit.steps[pipeline.route.source(_index_of(pipeline, RankedCodes), Candidates)].keys)
    picks = [repicked(pipeline, bench, unit, index) for index in range(count_)]
    return sorted(picks, key=lambda u: u is not unit)


def _pick_if_there(pipeline: Pipeline, bench: Bench, unit: Unit, pick: Callable[[Unit, int], int]) -> Unit:
    if unit.key in pipeline.report.stopped:
        return unit
    source = pipeline.route.source(_index_of(pipeline, RankedCodes), Candidates)
    return repicked(pipeline, bench, unit, pick(unit, len(unit.steps[source].keys)))


def _finish(pipeline: Pipeline, units: Sequence[Unit], store: ArtifactStore) -> None:
    """Runs what is missing for units whose choice is made."""
    for shard in shards(units, shard_size(pipeline.route, len(units))):
        pipeline.run_shard(shard, store)


def _unit_reference(pipeline: Pipeline, unit: Unit, store: ArtifactStore) -> str:
    phonemes = store.get(Phonemes, unit.steps[_index_of(pipeline, Phonemes)].keys[0])
    return normalise(" ".join(w.spoken for w in phonemes.words)) if phonemes else ""


def _spoken(bench: Bench, pipeline: Pipeline, documents: Sequence[Document], timed: bool = False) -> Output:
    """The sound of every document; a sentence that failed is missing from it, and its error is told."""
    clips, seconds = [], {}
    for document in documents:
        result = pipeline.result(document, bench.store)
        clips.append(Clip(result.audio, result.error, faults=tuple(result.faults)))
        records = iter(result.sentences)
        for unit in document.units:
            if unit.key not in pipeline.report.stopped:
                seconds[unit.key] = float(next(records)["seconds_of_audio"])
    return Output(clips, stage_speeds(pipeline.report, seconds) if timed else [])
