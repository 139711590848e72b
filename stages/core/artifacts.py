"""The one artifact store: values addressed by content key, written atomically and durably, verified when read.

Layout of the storage: `ab/cdef….safetensors` (one entry per file, see `core/codecs.py`; the key's first two digits are
the folder), `quarantine/` (damaged entries, kept for a look), `claims/` (what is being computed now).
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from stages.core.codecs import FORMAT, Arrays, DamagedEntry, decode, encode, pack, unpack
from stages.core.files import PARTIAL, STALE_SECONDS, is_abandoned
from stages.core.fingerprint import digest
from stages.core.storage import (
    BEATS,
    CLAIMS,
    Claim,
    Entry,
    LocalStorage,
    MemoryStorage,
    Storage,
    StoreError,
    open_storage,
)

T = TypeVar("T")
log = logging.getLogger("caretta.store")
SUFFIX = ".safetensors"
QUARANTINE = "quarantine"
_KEY = re.compile(r"[0-9a-f]{64}")
_ENTRY = re.compile(rf"[0-9a-f]{{2}}/[0-9a-f]{{62}}{re.escape(SUFFIX)}")
_READ_AT_ONCE = 64


class ArtifactStore:
    """Entries that any number of threads and processes may read and write at once; it may be pickled.

    Everything raises StoreError when the storage fails (rights, full disk, no connection), and ValueError for a key
    that is none.
    """

    def __init__(self, place: str | Path, options: Mapping[str, Any] | None = None):
        """
        Args:
            place: a folder, or a URL (s3://bucket/prefix).
            options: for the URL's fsspec driver, e.g. `endpoint_url`.
        """
        self.storage: Storage = open_storage(place, options)

    @property
    def where(self) -> str:
        """The place, for messages."""
        return self.storage.where

    @property
    def local_folder(self) -> Path | None:
        """The folder, None when the store is not one of this machine."""
        return self.storage.folder if isinstance(self.storage, LocalStorage) else None

    def has(self, key: str) -> bool:
        """Whether an entry is there (its bytes are verified by `read`)."""
        name = entry_name(key)
        with self._usable("read"):
            return self.storage.exists(name)

    def present(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys that have an entry."""
        names = {entry_name(key): key for key in keys}
        with self._usable("read"):
            return {names[name] for name in self.storage.present(names)}

    def claim(self, key: str) -> Claim | None:
        """The right to compute an entry, or None while another thread or process has it; see `Storage.claim`.

        It only saves work: entries are whole and equal whoever writes them.
        """
        entry_name(key)
        with self._usable("written"):
            return self.storage.claim(key)

    def read(self, key: str) -> tuple[Arrays, dict[str, Any]] | None:
        """The entry, or None when it is not there or is damaged: then it is moved to quarantine and reported."""
        name = entry_name(key)
        with self._usable("read"):
            data = self.storage.read(name)
        return None if data is None else self._unpack(key, data)

    def write(self, key: str, arrays: Arrays, meta: dict[str, Any]) -> None:
        """Stores an entry, atomically and durably."""
        self.write_many({key: (arrays, meta)})

    def write_many(self, entries: Mapping[str, tuple[Arrays, dict[str, Any]]]) -> None:
        """Stores entries, each atomically; all are durable when this returns."""
        self._write({entry_name(key): pack(key, arrays, meta) for key, (arrays, meta) in entries.items()})

    def get(self, cls: type[T], key: str) -> T | None:
        """The value of type `cls` under `key`, or None when it is missing or damaged."""
        entry = self.read(key)
        return None if entry is None else self._decode(cls, key, entry)

    def get_many(self, cls: type[T], keys: Iterable[str]) -> dict[str, T]:
        """The values of type `cls` by key; those missing or damaged are not in it. Faster than `get` at a URL."""
        names = {entry_name(key): key for key in keys}
        with self._usable("read"):
            found = self.storage.read_many(names)
        entries = {names[name]: self._unpack(names[name], data) for name, data in found.items()}
        values = {key: self._decode(cls, key, entry) for key, entry in entries.items() if entry is not None}
        return {key: value for key, value in values.items() if value is not None}

    def put(self, key: str, value: Any) -> None:
        """Stores a value of one of the types that `codecs.encode` knows."""
        self.put_many({key: value})

    def put_many(self, values: Mapping[str, Any]) -> None:
        """Stores values by key, each atomically; all are durable when this returns."""
        self._write({entry_name(key): pack(key, *encode(value)) for key, value in values.items()})

    def write_records(self, records: Mapping[str, dict[str, Any]]) -> None:
        """Stores the lineage records of finished utterances, by the key of their audio."""
        entries = {_record_key(key): {"type": "Lineage", "format": FORMAT, "record": r} for key, r in records.items()}
        self._write({entry_name(key): pack(key, {}, meta) for key, meta in entries.items()})

    def read_record(self, key: str) -> dict[str, Any] | None:
        """The lineage record of the utterance whose audio has `key`, or None."""
        entry = self.read(_record_key(key))
        return entry[1].get("record") if entry else None

    def keys(self) -> Iterator[str]:
        """Every key, sorted."""
        return (_key(entry) for entry in self._listing() if _ENTRY.fullmatch(entry.name))

    def stats(self) -> dict[str, Any]:
        """Where it is, number of entries, their bytes, and how many lie in quarantine."""
        entries = size = quarantined = 0
        for entry in self._listing():
            if _ENTRY.fullmatch(entry.name):
                entries, size = entries + 1, size + entry.size
            quarantined += entry.name.startswith(f"{QUARANTINE}/")
        return {"where": self.where, "entries": entries, "bytes": size, "quarantined": quarantined}

    def verify(self, advance: Callable[[int], None] | None = None) -> tuple[int, list[str]]:
        """Reads everything: (number of sound entries, keys of damaged ones, which are now in quarantine).

        An entry that vanishes meanwhile is neither. `advance` is told after every few entries how many were read.
        """
        sound, keys = 0, self.keys()
        damaged: list[str] = []
        while names := {entry_name(key): key for key in itertools.islice(keys, _READ_AT_ONCE)}:
            with self._usable("read"):
                found = self.storage.read_many(names)
            bad = [names[name] for name, data in found.items() if self._unpack(names[name], data) is None]
            sound, damaged = sound + len(found) - len(bad), damaged + bad
            if advance is not None:
                advance(len(names))
        return sound, damaged

    def gc(self, days: float | None = None) -> tuple[int, int]:
        """Removes what crashes left behind and the quarantine, and with `days` entries written longer ago.

        Returns:
            (files removed, bytes freed)
        """
        now = time.time()
        entries = list(self._listing())
        doomed = [entry for entry in entries if self._is_doomed(entry, now, days)]
        with self._usable("cleaned"):
            self.storage.delete(entry.name for entry in doomed)
            claims = [self.storage.claim(e.name.split("/")[1]) for e in entries if e.name.startswith(f"{CLAIMS}/")]
            stale = [claim for claim in claims if claim is not None]  # nobody held these
            for claim in stale:
                claim.release()
        return len(doomed) + len(stale), sum(entry.size for entry in doomed)

    @staticmethod
    def _is_doomed(entry: Entry, now: float, days: float | None) -> bool:
        age = now - entry.modified
        if entry.name.endswith(PARTIAL):
            return is_abandoned(entry.name.rpartition("/")[2], age)
        if entry.name.startswith(f"{BEATS}/"):
            return age > STALE_SECONDS  # a younger one may be in use
        if _ENTRY.fullmatch(entry.name):
            return days is not None and age > days * 86400
        return entry.name.startswith(f"{QUARANTINE}/")

    def _write(self, files: Mapping[str, bytes]) -> None:
        with self._usable("written"):
            self.storage.write(files)

    def _listing(self) -> Iterator[Entry]:
        with self._usable("read"):
            yield from self.storage.listing()

    def _unpack(self, key: str, data: bytes) -> tuple[Arrays, dict[str, Any]] | None:
        try:
            return unpack(key, data)
        except DamagedEntry as error:
            self._quarantine(key, str(error))
            return None

    def _decode(self, cls: type[T], key: str, entry: tuple[Arrays, dict[str, Any]]) -> T | None:
        try:
            return decode(cls, *entry)
        except (KeyError, ValueError, TypeError) as error:
            self._quarantine(key, f"it does not hold a {cls.__name__}: {error}")
            return None

    def _quarantine(self, key: str, reason: str) -> None:
        name, to = entry_name(key), f"{QUARANTINE}/{key}.{uuid.uuid4().hex[:8]}"
        log.warning("%s/%s: damaged (%s); moved to %s and computed again", self.where, name, reason, to)
        with self._usable("mended"):
            self.storage.move(name, to)

    @contextlib.contextmanager
    def _usable(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"{self.where}: the cache cannot be {verb} ({error.strerror or error}); mend that or name another "
                "place with --set cache.dir=PATH"
            ) from None


class MemoryStore(ArtifactStore):
    """The same store in memory: forgotten when the process ends."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()


def entry_name(key: str) -> str:
    """The name of an entry in the storage. Raises ValueError: no key."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is not a key; keys are 64 hexadecimal digits")
    return f"{key[:2]}/{key[2:]}{SUFFIX}"


def _key(entry: Entry) -> str:
    return entry.name.removesuffix(SUFFIX).replace("/", "")


def _record_key(key: str) -> str:
    return digest(["lineage", key])
