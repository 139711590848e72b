"""The one artifact store: values addressed by content key, written atomically and durably, verified when read.

Layout under the store's folder: `ab/cdef….safetensors` (one entry per file; the key's first two digits are the folder),
`quarantine/` (damaged entries, kept for a look). An entry is a safetensors file whose metadata holds the value's plain
part as JSON and a sha256 over key, arrays and JSON. No pickle, no torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import re
import struct
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from stages.core.files import sync_folder, write_atomic
from stages.core.fingerprint import digest
from stages.core.types import Audio, Candidate, Mel, Phonemes, RankedCodes, SpeechCodes, Voice, Word

T = TypeVar("T")
Arrays = dict[str, np.ndarray]
log = logging.getLogger("caretta.store")
FORMAT = 1
SUFFIX = ".safetensors"
QUARANTINE = "quarantine"
_KEY = re.compile(r"[0-9a-f]{64}")
_STALE_SECONDS = 3600.0


class StoreError(OSError):
    """The store cannot be written or read at all (rights, full disk); the message names the folder and the mend."""


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


class ArtifactStore:
    """A folder of entries that any number of threads and processes may read and write at once."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def has(self, key: str) -> bool:
        """Whether an entry is there (its bytes are verified by `read`)."""
        return os.path.exists(self._path(key))

    def read(self, key: str) -> tuple[Arrays, dict[str, Any]] | None:
        """The entry, or None when it is not there or is damaged: then it is moved to quarantine and reported.

        Raises:
            StoreError: the file is there and cannot be read (rights, a failing disk).
        """
        data = self._load(key)
        if data is None:
            return None
        try:
            return unpack(key, data)
        except DamagedEntry as error:
            self._quarantine(key, str(error))
            return None

    def write(self, key: str, arrays: Arrays, meta: dict[str, Any]) -> None:
        """Stores an entry, atomically and durably. Raises StoreError: no rights, a full disk."""
        self._save(key, pack(key, arrays, meta))

    def get(self, cls: type[T], key: str) -> T | None:
        """The value of type `cls` under `key`, or None when it is missing or damaged."""
        entry = self.read(key)
        if entry is None:
            return None
        try:
            return decode(cls, *entry)
        except (KeyError, ValueError, TypeError) as error:
            self._quarantine(key, f"it does not hold a {cls.__name__}: {error}")
            return None

    def put(self, key: str, value: Any) -> None:
        """Stores a value of one of the types that `encode` knows."""
        self.write(key, *encode(value))

    def write_record(self, key: str, record: dict[str, Any]) -> None:
        """Stores the lineage record of the finished utterance whose audio has `key`."""
        self.write(_record_key(key), {}, {"type": "Lineage", "format": FORMAT, "record": record})

    def read_record(self, key: str) -> dict[str, Any] | None:
        """The lineage record of the utterance whose audio has `key`, or None."""
        entry = self.read(_record_key(key))
        return entry[1].get("record") if entry else None

    def keys(self) -> Iterator[str]:
        """Every key, in order of the folders."""
        for path in sorted(self._folder_listing()):
            for name in sorted(os.listdir(path)):
                key = path.name + name.removesuffix(SUFFIX)
                if name.endswith(SUFFIX) and _KEY.fullmatch(key):
                    yield key

    def stats(self) -> dict[str, Any]:
        """Number of entries, their bytes, and how many lie in quarantine."""
        sizes = [os.path.getsize(self._path(key)) for key in self.keys()]
        return {
            "folder": str(self.folder),
            "entries": len(sizes),
            "bytes": sum(sizes),
            "quarantined": len(self._quarantined()),
        }

    def verify(self) -> tuple[int, list[str]]:
        """Reads everything: (number of sound entries, keys of damaged ones, which are now in quarantine)."""
        damaged = [key for key in list(self.keys()) if self.read(key) is None]
        return sum(1 for _ in self.keys()), damaged

    def gc(self, days: float | None = None) -> tuple[int, int]:
        """Removes what crashes left behind and the quarantine, and with `days` entries written longer ago.

        Returns:
            (files removed, bytes freed)
        """
        now = time.time()
        doomed = self._quarantined()
        for folder in self._folder_listing():
            stale = [p for p in folder.iterdir() if p.name.endswith(".partial")]
            doomed += [p for p in stale if now - p.stat().st_mtime > _STALE_SECONDS]  # a younger one may be in use
        if days is not None:
            doomed += [p for p in map(self._path, self.keys()) if now - p.stat().st_mtime > days * 86400]
        freed = sum(p.stat().st_size for p in doomed)
        try:
            for path in doomed:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable("cleaned", error) from None
        return len(doomed), freed

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not a key; keys are 64 hexadecimal digits")
        return self.folder / key[:2] / (key[2:] + SUFFIX)

    def _load(self, key: str) -> bytes | None:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable("read", error) from None

    def _save(self, key: str, data: bytes) -> None:
        path = self._path(key)
        try:
            if not path.parent.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                sync_folder(self.folder)
            write_atomic(path, data)
        except OSError as error:
            raise self._unusable("written", error) from None

    def _quarantine(self, key: str, reason: str) -> None:
        log.warning(
            "%s: damaged (%s); moved to %s and computed again", self._path(key), reason, self.folder / QUARANTINE
        )
        try:
            (self.folder / QUARANTINE).mkdir(exist_ok=True)
            os.replace(self._path(key), self.folder / QUARANTINE / f"{key}.{uuid.uuid4().hex[:8]}")
        except FileNotFoundError:
            pass  # another process was faster
        except OSError as error:
            raise self._unusable("mended", error) from None

    def _quarantined(self) -> list[Path]:
        folder = self.folder / QUARANTINE
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def _folder_listing(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [p for p in self.folder.iterdir() if re.fullmatch(r"[0-9a-f]{2}", p.name) and p.is_dir()]

    def _unusable(self, verb: str, error: OSError) -> StoreError:
        reason = error.strerror or str(error)
        return StoreError(
            f"{self.folder}: the cache cannot be {verb} ({reason}); mend that or name another folder with "
            "--set cache.dir=PATH"
        )


class MemoryStore(ArtifactStore):
    """The same store without a folder: forgotten when the process ends."""

    def __init__(self) -> None:
        super().__init__("memory")
        self._entries: dict[str, bytes] = {}

    def has(self, key: str) -> bool:
        return key in self._entries

    def keys(self) -> Iterator[str]:
        yield from sorted(self._entries)

    def _load(self, key: str) -> bytes | None:
        return self._entries.get(key)

    def _save(self, key: str, data: bytes) -> None:
        self._entries[key] = data

    def _quarantine(self, key: str, reason: str) -> None:
        self._entries.pop(key, None)


def _record_key(key: str) -> str:
    return digest(["lineage", key])


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
    return {"codes": _as(value.codes.codes, np.int64)}, plain


def _read_candidate(arrays: Arrays, meta: dict[str, Any]) -> Candidate:
    return Candidate(
        SpeechCodes(arrays["codes"], meta["codebook"]), meta["seed"], meta["log_prob"], tuple(meta["faults"])
    )


def _ranked(value: RankedCodes) -> tuple[Arrays, dict[str, Any]]:
    plain = {"codebook": value.codes.codebook, "chosen": int(value.chosen), "faults": value.faults,
             "scores": {judge: [float(s) for s in scores] for judge, scores in value.scores.items()}}  # fmt: skip
    return {"codes": _as(value.codes.codes, np.int64)}, plain


def _read_ranked(arrays: Arrays, meta: dict[str, Any]) -> RankedCodes:
    scores = {judge: tuple(values) for judge, values in meta["scores"].items()}
    return RankedCodes(SpeechCodes(arrays["codes"], meta["codebook"]), meta["chosen"], scores, tuple(meta["faults"]))


def _as(array: np.ndarray, kind: type) -> np.ndarray:
    """The array in C order as `kind`; another type is a mistake of the stage, never cast in silence."""
    if array.dtype != kind:
        raise ValueError(f"expected {np.dtype(kind)}, got {array.dtype}")
    return np.ascontiguousarray(array)


_ENCODERS: dict[type, Any] = {
    Phonemes: _phonemes,
    Candidate: _candidate,
    RankedCodes: _ranked,
    Mel: lambda v: ({"frames": _as(v.frames, np.float32)}, {"spec": v.spec}),
    Audio: lambda v: ({"samples": _as(v.samples, np.float32)}, {"sample_rate": int(v.sample_rate)}),
    Voice: lambda v: ({"samples": _as(v.clip.samples, np.float32)},
                      {"sample_rate": v.clip.sample_rate, "name": v.name, "licence": v.licence, "digest": v.digest}),
}  # fmt: skip
_DECODERS: dict[type, Any] = {
    Phonemes: _read_phonemes,
    Candidate: _read_candidate,
    RankedCodes: _read_ranked,
    Mel: lambda a, m: Mel(a["frames"], m["spec"]),
    Audio: lambda a, m: Audio(a["samples"], m["sample_rate"]),
    Voice: lambda a, m: Voice(m["name"], Audio(a["samples"], m["sample_rate"]), m["licence"], m["digest"]),
}
