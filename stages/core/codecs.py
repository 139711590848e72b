"""Values as bytes and back: what an entry of the artifact store holds.

An entry is a safetensors file whose metadata holds the value's plain part as JSON and a sha256 over key, arrays and
JSON. No pickle, no torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from stages.core.fingerprint import digest
from stages.core.types import (
    Audio,
    Candidate,
    Choice,
    Heard,
    Mel,
    Phonemes,
    RankedCodes,
    SpeechCodes,
    Tones,
    Voice,
    Word,
    WordVectors,
)

T = TypeVar("T")
Arrays = dict[str, np.ndarray]
FORMAT = 1


class DamagedEntry(ValueError):
    """An entry whose bytes are not what was written."""


def pack(key: str, arrays: Arrays, meta: dict[str, Any]) -> bytes:
    """An entry's bytes: deterministic for the same key, arrays and meta."""
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    plain = json.dumps(meta, sort_keys=True)
    # one field: safetensors writes several in random order
    entry = json.dumps({"meta": plain, "sha256": _checksum(key, arrays, plain)}, sort_keys=True)
    return bytes(save_arrays(arrays, metadata={"entry": entry}))


def unpack(key: str, data: bytes) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and meta of an entry. Raises DamagedEntry when a single bit differs from what was written."""
    try:
        (length,) = struct.unpack_from("<Q", data)
        entry = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["entry"])
        arrays = load_arrays(data)
        if _checksum(key, arrays, entry["meta"]) != entry["sha256"]:
            raise DamagedEntry("its checksum does not fit its content")
        return arrays, json.loads(entry["meta"])
    except (struct.error, SafetensorError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise DamagedEntry(str(error)) from None


def _checksum(key: str, arrays: Arrays, meta: str) -> str:
    sums = {name: [str(a.dtype), list(a.shape), hashlib.sha256(a.tobytes()).hexdigest()] for name, a in arrays.items()}
    return digest([key, sums, meta])  # the key is in it: an entry moved to another place is damage, too


def encode(value: Any) -> tuple[Arrays, dict[str, Any]]:
    """A value of `core/types.py` as arrays and plain metadata, exactly. Raises TypeError for other types."""
    try:
        arrays, plain = _ENCODERS[type(value)](value)
    except KeyError:
        raise TypeError(f"a {type(value).__name__} has no codec; add one to {__name__}") from None
    return arrays, {"type": type(value).__name__, "format": FORMAT, **plain}


def decode(cls: type[T], arrays: Arrays, meta: dict[str, Any]) -> T:
    """The value again. Raises ValueError or KeyError when the entry holds another type or format."""
    if (meta.get("type"), meta.get("format")) != (cls.__name__, FORMAT):
        raise ValueError(f"entry of type {meta.get('type')!r}, format {meta.get('format')!r}")
    return _DECODERS[cls](arrays, meta)


def _phonemes(value: Phonemes) -> tuple[Arrays, dict[str, Any]]:
    return {}, dataclasses.asdict(value)


def _read_phonemes(_: Arrays, meta: dict[str, Any]) -> Phonemes:
    words = tuple(Word(w["spoken"], tuple(w["phones"])) for w in meta["words"])
    return Phonemes(meta["text"], words, tuple(meta["symbols"]), tuple(meta["unspoken"]))


def _candidate(value: Candidate) -> tuple[Arrays, dict[str, Any]]:
    plain = {"codebook": value.codes.codebook, "seed": value.seed, "log_prob": value.log_prob, "faults": value.faults}
    return _codes(value.codes), plain


def _read_candidate(arrays: Arrays, meta: dict[str, Any]) -> Candidate:
    return Candidate(_read_codes(arrays, meta), meta["seed"], meta["log_prob"], tuple(meta["faults"]))


def _ranked(value: RankedCodes) -> tuple[Arrays, dict[str, Any]]:
    plain = {"codebook": value.codes.codebook, "chosen": int(value.chosen), "faults": value.faults,
             "scores": {judge: [float(s) for s in scores] for judge, scores in value.scores.items()}}  # fmt: skip
    return _codes(value.codes), plain


def _read_ranked(arrays: Arrays, meta: dict[str, Any]) -> RankedCodes:
    scores = {judge: tuple(values) for judge, values in meta["scores"].items()}
    return RankedCodes(_read_codes(arrays, meta), meta["chosen"], scores, tuple(meta["faults"]))


def _read_heard(_: Arrays, meta: dict[str, Any]) -> Heard:
    return Heard(meta["measures"], meta["transcript"])


def _read_choice(_: Arrays, meta: dict[str, Any]) -> Choice:
    scores = {judge: tuple(values) for judge, values in meta["scores"].items()}
    return Choice(meta["chosen"], scores, tuple(meta["faults"]), meta["retries"], meta["met"], meta["transcript"])


def _codes(value: SpeechCodes) -> Arrays:
    phones = {} if value.phones is None else {"phones": _as(value.phones, np.int64)}
    return {"codes": _as(value.codes, np.int64), **phones}


def _read_codes(arrays: Arrays, meta: dict[str, Any]) -> SpeechCodes:
    return SpeechCodes(arrays["codes"], meta["codebook"], arrays.get("phones"))


def _as(array: np.ndarray, kind: type) -> np.ndarray:
    """The array in C order as `kind`; another type is a mistake of the stage, never cast in silence."""
    if array.dtype != kind:
        raise ValueError(f"expected {np.dtype(kind)}, got {array.dtype}")
    return np.ascontiguousarray(array)


_ENCODERS: dict[type, Any] = {
    Phonemes: _phonemes,
    Tones: lambda v: ({}, dataclasses.asdict(v)),
    WordVectors: lambda v: ({"vectors": _as(v.vectors, np.float32)}, {"model": v.model}),
    Candidate: _candidate,
    RankedCodes: _ranked,
    Heard: lambda v: ({}, dataclasses.asdict(v)),
    Choice: lambda v: ({}, dataclasses.asdict(v)),
    Mel: lambda v: ({"frames": _as(v.frames, np.float32)}, {"spec": v.spec}),
    Audio: lambda v: ({"samples": _as(v.samples, np.float32)}, {"sample_rate": int(v.sample_rate)}),
    Voice: lambda v: ({"samples": _as(v.clip.samples, np.float32)},
                      {"sample_rate": v.clip.sample_rate, "name": v.name, "licence": v.licence, "digest": v.digest}),
}  # fmt: skip
_DECODERS: dict[type, Any] = {
    Phonemes: _read_phonemes,
    Tones: lambda a, m: Tones(tuple(m["tones"])),
    WordVectors: lambda a, m: WordVectors(a["vectors"], m["model"]),
    Candidate: _read_candidate,
    RankedCodes: _read_ranked,
    Heard: _read_heard,
    Choice: _read_choice,
    Mel: lambda a, m: Mel(a["frames"], m["spec"]),
    Audio: lambda a, m: Audio(a["samples"], m["sample_rate"]),
    Voice: lambda a, m: Voice(m["name"], Audio(a["samples"], m["sample_rate"]), m["licence"], m["digest"]),
}
