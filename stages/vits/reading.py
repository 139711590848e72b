"""An item as the text encoder takes it: ids, and what else is known of each phone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from stages.core.checkpoint import CheckpointError
from stages.core.stage import Item
from stages.core.types import Phonemes, Tones, WordVectors
from stages.vits.model import VitsModelConfig
from stages.vits.text_encoder import TextInput
from stages.vits.tokens import blanked, ids_for


def read(item: Item, config: VitsModelConfig, meta: dict[str, Any], language: int | None) -> TextInput:
    """One sentence (B = 1) for the model of `config` and `meta`.

    Args:
        item: its phones, and its tones and word vectors where the model hears them.
        language: row of the table; None = the first.

    Raises:
        NothingToSay: nothing in it that the model has a symbol for.
        CheckpointError: a checkpoint that reads what no stage writes, or word vectors of another encoder than its own.
    """
    phonemes: Phonemes = item[Phonemes]
    symbols, own = np.array(ids_for(phonemes, meta)), "reads" not in meta
    tones = np.array(item[Tones].tones) if config.tones and Tones in item and own else None
    vectors = _vectors(item, config, meta) if config.bert and WordVectors in item else None
    if config.blank and own:  # a converted checkpoint's rules put its blanks themselves
        symbols = blanked(symbols)
        tones = None if tones is None else blanked(tones)
        vectors = None if vectors is None else blanked_vectors(vectors)
    languages = None if language is None else np.full_like(symbols, language)
    ids, stress, tongues, words = (
        None if part is None else torch.from_numpy(part)[None] for part in (symbols, tones, languages, vectors)
    )
    assert ids is not None
    return TextInput(ids, torch.tensor([len(symbols)]), stress, tongues, words)


def _vectors(item: Item, config: VitsModelConfig, meta: dict[str, Any]) -> np.ndarray:
    words: WordVectors = item[WordVectors]
    if words.vectors.shape[1] != config.bert or meta.get("bert", words.model) != words.model:
        raise CheckpointError(
            f"the word vectors ({words.vectors.shape[1]} wide, of encoder {words.model[:12]}) are not those that this "
            f"checkpoint was trained with ({config.bert} wide, of {str(meta.get('bert', 'one not named'))[:12]}); name "
            "its encoder with --set bert.model=FOLDER"
        )
    return words.vectors


def blanked_vectors(rows: np.ndarray) -> np.ndarray:
    """(P, D) -> (2 P + 1, D): a blank has the vector of the phone before it, the first that of the phone after it."""
    return rows[np.maximum(np.arange(2 * len(rows) + 1) - 1, 0) // 2]
