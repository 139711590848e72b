"""Words as a text encoder (a BERT) hears them, at the phones that are said. Importing this loads no torch."""

from __future__ import annotations

import contextlib
import difflib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from stages.core.config import ConfigError
from stages.core.fingerprint import digest, file_digest
from stages.core.types import PAUSE, Word

FILES = ("config.json", "model.safetensors", "tokenizer.json")
"""of an encoder's folder: all that its vectors depend on"""


def model_digest(folder: str | Path) -> str:
    """sha256 over an encoder's weights, hyper-parameters and tokenizer. Raises ConfigError when one is missing."""
    name, folder = str(folder), Path(folder)
    if not name.strip(".") or not folder.is_dir():
        raise ConfigError(
            f"bert: {name!r} is no folder; name the folder of a transformers encoder (config.json, "
            "model.safetensors, tokenizer.json)"
        )
    missing = [file for file in FILES if not (folder / file).is_file()]
    if missing:
        raise ConfigError(f"bert: {folder} has no {', '.join(missing)}; name the folder of a transformers encoder")
    stats = [(folder / file).stat() for file in FILES]
    return _digest_once(str(folder.absolute()), tuple((stat.st_mtime_ns, stat.st_size) for stat in stats))


@functools.lru_cache(maxsize=16)
def _digest_once(folder: str, stamps: tuple[tuple[int, int], ...]) -> str:
    return digest([file_digest(Path(folder) / name) for name in FILES])


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """transformers draws a bar for every file that it reads: a second of noise in the output of a command."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


class WordEncoder:
    """A pretrained transformers encoder (Devlin et al. 2019) from a local folder; nothing is downloaded."""

    def __init__(self, folder: str | Path, device: str = "cpu") -> None:
        """Raises ConfigError: no encoder there, or one whose file lacks some of its weights."""
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModel, PreTrainedTokenizerFast

        self.digest = model_digest(folder)
        self.folder, self.device = str(folder), device
        try:
            self.tokenizer = PreTrainedTokenizerFast.from_pretrained(self.folder, local_files_only=True)
            # random numbers that it draws are nobody else's
            with torch.random.fork_rng(devices=[]), _without_bars():
                model, found = AutoModel.from_pretrained(
                    self.folder, local_files_only=True, use_safetensors=True, output_loading_info=True
                )
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"bert: {folder} cannot be loaded ({reason}); name a transformers encoder") from None
        missing = sorted(name for name in found["missing_keys"] if not name.startswith("pooler."))  # it is not asked
        if missing:
            raise ConfigError(
                f"bert: {folder}/model.safetensors has no {missing[0]} (nor {len(missing) - 1} more); name a whole "
                "transformers encoder"
            )
        self.model = model.eval().to(device)

    def __call__(self, words: Sequence[str]) -> np.ndarray:
        """(1 + W, D) float32: the last layer at the sentence's start, and its mean over the pieces of each word.

        Raises:
            ValueError: more pieces than the encoder reads, or a word that its tokenizer has nothing for.
        """
        import torch

        pieces = self.tokenizer([list(words)], is_split_into_words=True, return_tensors="pt")
        most = getattr(self.model.config, "max_position_embeddings", None)
        if most is not None and pieces["input_ids"].shape[1] > most:
            raise ValueError(f"the text has more pieces than the {most} that {self.folder} reads; shorten the text")
        with torch.inference_mode():
            given = {name: pieces[name].to(self.device) for name in ("input_ids", "attention_mask")}
            hidden = self.model(**given).last_hidden_state[0].float().cpu().numpy()
        place = np.array([-1 if n is None else n for n in pieces.word_ids(0)])
        rows = [hidden[0]]
        for n, word in enumerate(words):
            own = np.flatnonzero(place == n)
            if not len(own):
                raise ValueError(f"the tokenizer of {self.folder} has nothing for {word!r}; use one that knows it")
            rows.append(hidden[own].mean(0))
        return np.stack(rows)

    def at_phones(self, said: Sequence[str], words: Sequence[Word]) -> np.ndarray:
        """(P, D) float32: each phone has the vector of its word; a pause that of the word before it, the first pause
        the vector of the sentence's start. Raises ValueError as a call does."""
        vectors = self([word.spoken for word in words])
        return vectors[word_places(said, [word.phones for word in words])]


def word_places(said: Sequence[str], words: Sequence[Sequence[str]]) -> np.ndarray:
    """(P,) which word each phone that was said belongs to, from 1; 0 is the pause before the first.

    Phones that were said otherwise than `words` has them belong to the word of the nearest phone before them that
    both have; never moves back.
    """
    owner = [n for n, word in enumerate(words, 1) for _ in word]
    spoken = [p for p, phone in enumerate(said) if phone != PAUSE]
    wanted = [phone for word in words for phone in word]
    out = np.full(len(said), -1)
    match = difflib.SequenceMatcher(None, [said[p] for p in spoken], wanted, autojunk=False)
    for block in match.get_matching_blocks():
        for n in range(block.size):
            out[spoken[block.a + n]] = owner[block.b + n]
    last = 0
    for p, phone in enumerate(said):
        if out[p] < 0:
            out[p] = last if phone == PAUSE else max(last, 1)
        last = out[p]
    return out
