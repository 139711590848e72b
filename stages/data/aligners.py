"""Forced aligners: which phone of a known text is said when. One class and one line in ALIGNERS each.

An aligner gets a sound and the text stage's phones and gives (phone, end in seconds): a pause at both ends and wherever
the sound has one, and between them exactly the phones of the words.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from stages.core import checkpoint, symbols
from stages.core.config import ConfigError
from stages.core.fingerprint import digest
from stages.core.hearing import listened
from stages.core.types import PAUSE, Phonemes

Timings = tuple[tuple[str, float], ...]
"""(symbol, end in seconds) in order"""
Phones = tuple[str, ...]
VERSION = 1


class NotAligned(ValueError):
    """The text cannot be found in the sound; the message says what was tried."""


@dataclass(frozen=True)
class AlignConfig:
    """How rows without timings get them."""

    aligner: str = "pocketsphinx"
    """a name of ALIGNERS"""
    tokenizer: str = ""
    """checkpoint folder of the speech tokenizer, for the aligner `tokenizer`"""
    lexicon: str = ""
    """the user's pronunciations, as text.lexicon"""
    shortest_pause: float = 0.03
    """seconds; a shorter silence is a part of the phone before it"""

    def __post_init__(self) -> None:
        if self.aligner not in ALIGNERS:
            raise ValueError(f"aligner {self.aligner!r} is not there; use one of {', '.join(ALIGNERS)}")
        if self.aligner == "tokenizer" and not self.tokenizer:
            raise ValueError("aligner 'tokenizer' needs tokenizer: the folder of its checkpoint")
        if not self.shortest_pause >= 0:
            raise ValueError(f"shortest_pause must be 0 seconds or more, not {self.shortest_pause}")


class Aligner(Protocol):
    """What `align` calls; `identity` names everything that can change the timings."""

    identity: str
    rate: int
    """samples per second of the sound it wants"""

    def __call__(self, samples: np.ndarray, phonemes: Phonemes) -> Timings:
        """Timings of `phonemes` in samples (L,). Raises NotAligned."""
        ...


@dataclass(frozen=True)
class Segment:
    """A stretch of sound on one phone; times in seconds."""

    symbol: str
    start: float
    end: float


class PocketsphinxAligner:
    """CMU Sphinx's continuous English model: words first, then the phones within them (Huggins-Daines et al. 2006)."""

    rate = 16000
    FRAME = 0.01
    CENTRE = 0.0078
    """s; a frame's window is 25.6 ms, so that the boundary of two frames lies this far after the second one's start"""
    WORST = -35.0
    """mean acoustic score per frame that is still an alignment: the right text has -7 to -28, another one -39 to -84"""
    MOST_WORDS = 20_000
    """pronunciations that a decoder collects before it is made again"""

    def __init__(self, config: AlignConfig) -> None:
        version = importlib.metadata.version("pocketsphinx")
        self.identity = digest(["pocketsphinx", VERSION, version, config.shortest_pause])
        self.shortest = config.shortest_pause
        self._decoder: Any = None
        self._words: dict[Phones, str] = {}

    def __call__(self, samples: np.ndarray, phonemes: Phonemes) -> Timings:
        """Timings at 10 ms. Raises NotAligned."""
        sound = (samples.clip(-1, 1) * 32767).astype(np.int16)
        found = self._phones(sound.tobytes(), [word.phones for word in phonemes.words])
        spoken = [(frames, score) for phone, _, frames, score in found if phone != "SIL"]
        mean = sum(score for _, score in spoken) / sum(frames for frames, _ in spoken)
        if mean < self.WORST:
            raise NotAligned(f"its text is not what the sound says (score {mean:.0f} a frame, {self.WORST:.0f} needed)")
        said = (phone for word in phonemes.words for phone in word.phones)
        segments = [
            Segment(PAUSE if phone == "SIL" else next(said), self._time(start), self._time(start + frames))
            for phone, start, frames, _ in found
        ]
        return timings(segments, len(samples) / self.rate, self.shortest)

    def _time(self, frame: int) -> float:
        return frame * self.FRAME + self.CENTRE if frame else 0.0

    def _phones(self, sound: bytes, words: Sequence[Phones]) -> list[tuple[str, int, int, float]]:
        """(CMU phone, first frame, frames, score) of all phones in order.

        The second pass fails where the first one put a silence of less than three frames, which no model has; then the
        words between two silences are taken as one word.
        """
        groups = self._first_pass(sound, words)
        try:
            return self._second_pass(sound)
        except RuntimeError:
            self._first_pass(sound, groups)
        try:
            return self._second_pass(sound)
        except RuntimeError:
            raise NotAligned("its phones do not fit into the sound") from None

    def _first_pass(self, sound: bytes, words: Sequence[Phones]) -> list[Phones]:
        """Aligns the words; gives the phones of each run of words between two silences. Raises NotAligned."""
        if self._decoder is None or len(self._words) > self.MOST_WORDS:
            self._decoder, self._words = _decoder(), {}
        self._decoder.set_align_text(" ".join([self._name(word) for word in words]))
        try:
            self._decode(sound)
            found = list(self._decoder.seg() or [])
        except RuntimeError:
            found = []
        groups: list[Phones] = [()]
        left = iter(words)
        for segment in found:
            if segment.word.startswith("w"):
                groups[-1] += next(left)
            elif groups[-1]:
                groups.append(())
        if next(left, None) is not None:
            raise NotAligned("its text is not found in the sound")
        return [group for group in groups if group]

    def _second_pass(self, sound: bytes) -> list[tuple[str, int, int, float]]:
        self._decoder.set_alignment()
        self._decode(sound)
        return [(p.name, p.start, p.duration, p.score) for word in self._decoder.get_alignment() for p in word]

    def _decode(self, sound: bytes) -> None:
        listened(self._decoder, sound)

    def _name(self, phones: Phones) -> str:
        """The decoder's word of these phones; it is told of them when they are new to it."""
        if phones not in self._words:
            name = f"w{len(self._words)}"
            self._decoder.add_word(name, " ".join("AH" if p == "ax" else p.upper() for p in phones), False)
            self._words[phones] = name
        return self._words[phones]


def _decoder() -> Any:
    """A decoder without words: its own dictionary and language model are not read."""
    import pocketsphinx

    config = pocketsphinx.Config(cmn="batch", dither=False, loglevel="FATAL")
    config["lm"], config["dict"] = None, None
    return pocketsphinx.Decoder(config)


class TokenizerAligner:
    """Viterbi over the phone classifier of our speech tokenizer, for the voices that it was trained on.

    The codes are made STEPS times, each time from a sound that starts a little later, which gives one for every 8 ms.
    """

    STEPS = 4
    WORST = -2.5
    """mean log-probability per step (nats) that is still an alignment"""

    def __init__(self, config: AlignConfig) -> None:
        import torch

        from stages.codes.model import CodesModelConfig, SpeechTokenizer

        found = checkpoint.read(config.tokenizer, "codes")
        checkpoint.require(found, "symbols", symbols.DIGEST, "it was trained on another symbol table")
        own = checkpoint.model_config(found, CodesModelConfig)
        with torch.random.fork_rng(devices=[]):
            self._model = SpeechTokenizer(own)
        checkpoint.load_strict(self._model, found)
        self._model.eval()
        self._spec, self._stride, self.rate = own.audio, own.stride, own.audio.sample_rate
        self.shortest = config.shortest_pause
        weights = checkpoint.checkpoint_digest(config.tokenizer)
        self.identity = digest(["tokenizer", VERSION, weights, config.shortest_pause])

    def __call__(self, samples: np.ndarray, phonemes: Phonemes) -> Timings:
        """Timings at a quarter of a code. Raises NotAligned."""
        states, optional = _states(phonemes)
        emission = self._log_probs(samples)[:, symbols.ids(states)]
        path, score = best_path(emission, optional)
        if score < self.WORST:
            raise NotAligned(f"its text is not what the sound says ({score:.1f} nats a step, {self.WORST} needed)")
        starts = np.flatnonzero(np.diff(path, prepend=-1))
        code = self._stride * self._spec.hop
        times = ((starts - 0.5) * code / self.STEPS + code / 2) / self.rate  # a step's middle is that of its code
        ends = [*times[1:].tolist(), len(samples) / self.rate]
        begins = [0.0, *ends[:-1]]
        segments = [
            Segment(states[path[n]], begin, end) for n, begin, end in zip(starts.tolist(), begins, ends, strict=True)
        ]
        return timings(segments, len(samples) / self.rate, self.shortest)

    def _log_probs(self, samples: np.ndarray) -> np.ndarray:
        """(J, symbols) log-probabilities; step j's middle is (j / STEPS + 1 / 2) codes into the sound."""
        import torch

        from stages.core.audio import mel_spectrogram

        code = self._stride * self._spec.hop
        count = -(-len(samples) // code)
        shifts = [np.pad(samples, (0, (count + 1) * code - len(samples)))[n * code // self.STEPS :][: count * code]
                  for n in range(self.STEPS)]  # fmt: skip
        with torch.inference_mode():
            mel = mel_spectrogram(torch.from_numpy(np.stack(shifts)), self._spec).transpose(1, 2)
            logits = self._model.phone_logits(self._model.quantizer.decode(self._model.encode(mel)))
            return logits.log_softmax(-1).transpose(0, 1).reshape(count * self.STEPS, -1).double().numpy()


def _states(phonemes: Phonemes) -> tuple[list[str], np.ndarray]:
    """All phones with a pause at both ends and between words, (S,); and which of them may be left out, (S,) bool."""
    states, optional = [PAUSE], [False]
    for word in phonemes.words:
        states += [*word.phones, PAUSE]
        optional += [*[False] * len(word.phones), True]
    optional[-1] = False
    return states, np.array(optional)


def best_path(emission: np.ndarray, optional: np.ndarray) -> tuple[np.ndarray, float]:
    """The best monotonic path through states, each visited but for the optional ones (Viterbi 1967).

    Args:
        emission: (J, S) log-probability of each state at each step.
        optional: (S,) states that may be passed over; never two in a row, nor the first or last.

    Returns:
        (J,) the state at each step, and the mean log-probability per step.

    Raises:
        NotAligned: fewer steps than states that must be visited.
    """
    steps, count = emission.shape
    if steps < count - int(optional.sum()):
        raise NotAligned("the sound is shorter than its text")
    skip = np.where(np.roll(optional, 1), 0.0, -np.inf)
    score = np.full(count, -np.inf)
    score[0] = emission[0, 0]
    back = np.zeros((steps, count), np.int8)
    ways = np.full((3, count), -np.inf)  # from the same state, one back, two back
    for j in range(1, steps):
        ways[0], ways[1, 1:], ways[2, 2:] = score, score[:-1], score[:-2] + skip[2:]
        back[j] = ways.argmax(axis=0)
        score = ways.max(axis=0) + emission[j]
    path = np.empty(steps, np.int64)
    path[-1] = count - 1
    for j in range(steps - 1, 0, -1):
        path[j - 1] = path[j] - back[j, path[j]]
    return path, float(score[-1]) / steps


def timings(segments: Sequence[Segment], seconds: float, shortest: float) -> Timings:
    """Segments as (symbol, end in s): a pause at both ends, no pause shorter than `shortest` or after another.

    Raises NotAligned when the ends do not rise.
    """
    said: list[tuple[str, float]] = []
    for segment in segments:
        if segment.symbol != PAUSE:
            said.append((segment.symbol, segment.end))
        elif said and (said[-1][0] == PAUSE or segment.end - segment.start < shortest):
            said[-1] = (said[-1][0], segment.end)
        else:
            said.append((PAUSE, segment.end))
    out = tuple((symbol, round(end, 4)) for symbol, end in _with_edges(said, seconds))
    if any(b <= a for (_, a), (_, b) in zip(out, out[1:], strict=False)):
        raise NotAligned("its phones do not fit into the sound")
    return out


EDGE = 0.01
"""s; the pause at an end where the sound has none"""


def _with_edges(said: list[tuple[str, float]], seconds: float) -> Iterator[tuple[str, float]]:
    if said[0][0] != PAUSE:
        yield PAUSE, min(EDGE, said[0][1] / 2)
    yield from said[:-1]
    if said[-1][0] != PAUSE:
        before = said[-2][1] if len(said) > 1 else 0.0
        yield said[-1][0], max(min(said[-1][1], seconds - EDGE), (before + seconds) / 2)
    yield PAUSE, seconds


ALIGNERS: dict[str, type[PocketsphinxAligner] | type[TokenizerAligner]] = {
    "pocketsphinx": PocketsphinxAligner,
    "tokenizer": TokenizerAligner,
}


def make_aligner(config: AlignConfig) -> Aligner:
    """The aligner that a config names. Raises CheckpointError, and ConfigError when its library is not installed."""
    try:
        return ALIGNERS[config.aligner](config)
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError(f"aligner {config.aligner!r} needs the package pocketsphinx; run `uv sync`") from None
