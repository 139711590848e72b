"""What VITS is trained on: texts with their speakers, sounds, and timings where they are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stages.core.config import ConfigError
from stages.data.batching import LengthBuckets, held_out, pad, padding
from stages.data.features import Corpus
from stages.vits.model import VitsModelConfig
from stages.vits.reading import blanked_vectors
from stages.vits.tokens import blanked


@dataclass(frozen=True)
class Numbers:
    """Per phone of the whole corpus, where the model reads them: (sum P,) tones, (sum P, D) word vectors."""

    tones: np.ndarray | None = None
    bert: np.ndarray | None = None


class VitsBatches:
    """Batches of similar cost, training and held-out, of the speakers that the model has.

    Args:
        positions: phones and frames that a batch may hold, padding included.
        crop: frames that are taken of a longer utterance, with the whole text; 0 = all. Needs timings.
        repeats: how often an epoch has the utterances of a speaker, where not once.

    Raises:
        ConfigError: no utterance is of the model's speakers, some are in a language that it has not, or it has no
            embedding for a symbol.
    """

    def __init__(
        self,
        corpus: Corpus,
        config: VitsModelConfig,
        numbers: Numbers,
        positions: int,
        crop: int,
        seed: int,
        repeats: Mapping[str, int] | None = None,
    ) -> None:
        self.corpus, self.config, self.numbers, self.crop, self.seed = corpus, config, numbers, crop, seed
        self.speaker = _numbers(corpus.speakers, config.speakers)  # (S,) the corpus's number -> the model's, or -1
        rows = np.flatnonzero(self.speaker[corpus.speaker_of] >= 0)
        if not len(rows):
            raise ConfigError(
                f"{corpus.folder}: none of its speakers ({', '.join(corpus.speakers)}) is one of network.speakers "
                f"({', '.join(config.speakers)}); name those of the corpus"
            )
        if len(rows) < 2:
            raise ConfigError(f"{corpus.folder}: holds one utterance of network.speakers; training needs at least two")
        self.language = _numbers(corpus.languages, config.languages)
        foreign = sorted({corpus.languages[n] for n in corpus.language_of[rows] if self.language[n] < 0})
        if foreign:
            raise ConfigError(
                f"{corpus.folder}: has utterances in {', '.join(foreign)}, which network.languages "
                f"({', '.join(config.languages)}) lacks; name it there, or leave network.languages out"
            )
        if len(corpus.phones) and int(corpus.phones.max()) >= config.symbols:
            raise ConfigError(
                f"network.symbols is {config.symbols}, too few for the phones of {corpus.folder}; leave it out"
            )
        held = held_out([corpus.ids[i] for i in rows])
        times = np.array([(repeats or {}).get(name, 1) for name in corpus.speakers])
        self.rows, self.held = np.repeat(rows[~held], times[corpus.speaker_of[rows[~held]]]), rows[held]
        frames = np.minimum(corpus.lengths, crop) if crop else corpus.lengths
        cost = frames + np.diff(corpus.phone_start)
        self._buckets = LengthBuckets(cost[self.rows], positions, seed)
        self._held_buckets = LengthBuckets(cost[self.held], positions, seed)

    def check(self) -> None:
        """Raises ConfigError, naming the first utterance, when some have no phones or more symbols than frames."""
        phones, lengths = np.diff(self.corpus.phone_start), self.corpus.lengths
        symbols = 2 * phones + 1 if self.config.blank else phones
        rows = np.unique(np.concatenate((self.rows, self.held)))
        wrong = rows[(phones[rows] == 0) | (lengths[rows] < symbols[rows])]
        if len(wrong):
            i = int(wrong[0])
            blanks = ", set network.blank=false" if self.config.blank and phones[i] <= lengths[i] else ""
            mend = (
                f"lower clean.max_characters_per_second{blanks} or take a smaller audio.hop"
                if phones[i]
                else "prepare the corpus with an aligner (align: null leaves the phones out)"
            )
            raise ConfigError(
                f"{self.corpus.folder}: {self.corpus.ids[i]} has {symbols[i] if phones[i] else 0} symbols in "
                f"{lengths[i]} frames, and each needs its own ({len(wrong)} of {len(rows)} utterances); {mend}"
            )

    def batch(self, step: int) -> dict[str, Any]:
        """Training batch number `step`; see `of`."""
        return self.of(self.rows[self._buckets.batch(step)], np.random.default_rng([self.seed, 11, step]))

    def heaviest(self) -> int:
        """Number of the training batch with the most utterances in the first epoch."""
        return self._buckets.fullest()

    def held_batch(self, number: int) -> dict[str, Any]:
        """Held-out batch of that number; see `of`."""
        return self.of(self.held[self._held_buckets.batch(number)], np.random.default_rng([self.seed, 12, number]))

    def of(self, items: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
        """Utterances as tensors.

        `symbols` (B, P), `phones` (B,) how many, `tones` (B, P) and `bert` (B, P, D) where the model reads them,
        `languages` (B, P), `speakers`, `accents` (B,), `audio` (B, T * hop), `mel` (B, T, M), `pitch` (B, T) Hz with
        0 = unknown, `frames` (B,) how many, `durations` (B, P) frames of each phone, `place` (B, T) the phone of each
        frame; the last two are all zeros where no timings are known.
        """
        corpus, spec = self.corpus, self.corpus.spec
        spans = [corpus.frames_of(i) for i in items]
        longest = max(s.stop - s.start for s in spans)
        longest = min(longest, self.crop) if self.crop else longest
        audio = np.zeros((len(items), longest * spec.hop), np.float32)
        mel = np.full((len(items), longest, spec.n_mels), spec.silence, np.float32)
        pitch = np.zeros((len(items), longest), np.float32)
        frames, durations, place = [], [], []
        for row, (i, span) in enumerate(zip(items, spans, strict=True)):
            length = span.stop - span.start
            first = int(rng.integers(0, max(length - longest, 0) + 1))
            here = slice(span.start + first, span.start + min(first + longest, length))
            n = here.stop - here.start
            audio[row, : n * spec.hop] = corpus.audio[here.start * spec.hop : here.stop * spec.hop] / 32767.0
            mel[row, :n], pitch[row, :n] = corpus.mel[here], corpus.pitch[here]
            frames.append(n)
            durations.append(at_least_one(corpus.durations_of(i)))
            place.append(np.repeat(np.arange(len(durations[-1])), durations[-1])[first : first + n])
        phones = [corpus.phones[corpus.phones_of(i)].astype(np.int64) for i in items]
        return {
            **self._text(items, phones),
            "audio": torch.from_numpy(audio),
            "mel": torch.from_numpy(mel),
            "pitch": torch.from_numpy(pitch),
            "frames": torch.tensor(frames),
            "durations": pad(durations, 0),
            "place": pad(place, 0),
            "ids": [corpus.ids[i] for i in items],
            "targets": sum(frames),
            "padding": padding(phones, [np.empty(n) for n in frames]),
        }

    def _text(self, items: np.ndarray, phones: list[np.ndarray]) -> dict[str, torch.Tensor]:
        corpus, config, per = self.corpus, self.config, self.numbers
        spread: Callable[[np.ndarray], np.ndarray] = blanked if config.blank else lambda row: row
        out = {
            "symbols": pad([spread(row) for row in phones], 0),
            "phones": torch.tensor([len(spread(row)) for row in phones]),
            "speakers": torch.from_numpy(self.speaker[corpus.speaker_of[items]]),
            "accents": torch.tensor([self._accent(int(corpus.speaker_of[i])) for i in items]),
        }
        spans = [corpus.phones_of(i) for i in items]
        if config.tones and per.tones is not None:
            out["tones"] = pad([spread(per.tones[s].astype(np.int64)) for s in spans], 0)
        if len(config.languages) > 1:
            known = self.language[corpus.language_of[items]]
            out["languages"] = pad([np.full(len(spread(row)), n) for n, row in zip(known, phones, strict=True)], 0)
        if config.bert and per.bert is not None:
            bert = np.zeros((*out["symbols"].shape, config.bert), np.float32)
            for row, span in enumerate(spans):
                own = per.bert[span]
                own = blanked_vectors(own) if config.blank else own
                bert[row, : len(own)] = own
            out["bert"] = torch.from_numpy(bert)
        return out

    def _accent(self, speaker: int) -> int:
        name = self.config.accent_of.get(self.corpus.speakers[speaker])
        return self.config.accents.index(name) if name is not None else 0


def at_least_one(durations: np.ndarray) -> np.ndarray:
    """(P,) frames -> the same sum with no phone at 0: what is short takes a frame of the longest left that can give.

    More phones than frames stay as they are.
    """
    out = durations.copy()
    for p in np.flatnonzero(out == 0).tolist():
        giver = int(np.argmax(np.where(out > 1, out - 0.1 * np.abs(np.arange(len(out)) - p), -np.inf)))
        if out[giver] > 1:  # a near one rather than a far one
            out[giver], out[p] = out[giver] - 1, 1
    return out


def _numbers(names: list[str], table: tuple[str, ...]) -> np.ndarray:
    """(len(names),) int64 place of each name in `table`, -1 where it is not there; all 0 for an empty table."""
    if not table:
        return np.zeros(len(names), np.int64)
    return np.array([table.index(name) if name in table else -1 for name in names], np.int64)
