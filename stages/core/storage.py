"""Where the artifact store keeps its bytes: files by name, each whole or not there, and claims on work to be done.

A name has two parts, `folder/file`. A folder of this machine is `LocalStorage`; URLs are in `core/remote.py`, which is
imported only when one is opened. Storages hold no open files, sockets or locks, so they may be pickled and sent to
worker processes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from stages.core.files import make_folder, write_all

CLAIMS = "claims"
"""folder of the claims"""
BEATS = "beats"
"""folder where holders of claims at a URL show that they live"""
_SECRET = re.compile(r"secret|token|passw|credential|username|access_?key|^key$", re.IGNORECASE)


class StoreError(OSError):
    """The store cannot be written or read at all (rights, full disk); the message names the place and the mend."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a storage."""

    name: str
    size: int
    """bytes"""
    modified: float
    """seconds since the epoch, by the clock of the storage"""


class Claim(ABC):
    """The right to compute something that no other thread or process on the same storage holds now."""

    @abstractmethod
    def release(self) -> None:
        """Gives the right back; never fails, and does nothing the second time."""

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


class Storage(ABC):
    """Files by name. Everything raises OSError when the storage itself fails."""

    where: str
    """the place, for messages"""

    @abstractmethod
    def exists(self, name: str) -> bool: ...

    @abstractmethod
    def present(self, names: Iterable[str]) -> set[str]:
        """Those of the names that exist."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """A file's bytes, None when it does not exist."""

    @abstractmethod
    def read_many(self, names: Iterable[str]) -> dict[str, bytes]:
        """The bytes of those that exist."""

    @abstractmethod
    def write(self, files: Mapping[str, bytes]) -> None:
        """Writes each file atomically; all of them are durable when this returns."""

    @abstractmethod
    def delete(self, names: Iterable[str]) -> None:
        """Deletes files; those that do not exist (any more) are fine."""

    @abstractmethod
    def move(self, name: str, to: str) -> None:
        """Gives a file another name; it may be gone already."""

    @abstractmethod
    def listing(self) -> Iterator[Entry]:
        """Every file, sorted by name; files that come or go meanwhile may be in it or not."""

    @abstractmethod
    def claim(self, name: str) -> Claim | None:
        """A claim, or None while another thread or process holds it. A claim whose holder died is free."""


def open_storage(place: str | Path, options: Mapping[str, Any] | None = None) -> Storage:
    """The storage at a folder or URL; `options` go to the URL's fsspec driver.

    Raises:
        StoreError: a URL that cannot be one, its driver is not installed, options that do not belong here.
    """
    url = str(place).removeprefix("file://")
    if "://" in url:
        _refuse_secrets(options or {})
        from stages.core.remote import RemoteStorage

        return RemoteStorage(url, options or {})
    if options:
        raise StoreError(f"cache.options: {place} is a folder and takes none; remove them or give a URL as cache.dir")
    return LocalStorage(url)


def _refuse_secrets(options: Mapping[str, Any]) -> None:
    for key, value in options.items():
        if _SECRET.search(key):
            raise StoreError(
                f"cache.options: {key!r} looks like a secret; remove it and give secrets by the environment "
                "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY…)"
            )
        if isinstance(value, Mapping):
            _refuse_secrets(value)


class LocalStorage(Storage):
    """A folder that any number of threads and processes may read and write at once."""

    def __init__(self, folder: str | Path):
        self.folder, self.where = Path(folder), str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return LocalStorage, (self.folder.absolute(),)  # a worker may run in another folder

    def exists(self, name: str) -> bool:
        return os.path.exists(f"{self.where}/{name}")

    def present(self, names: Iterable[str]) -> set[str]:
        return set(filter(self.exists, names))

    def read(self, name: str) -> bytes | None:
        try:
            with open(f"{self.where}/{name}", "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def read_many(self, names: Iterable[str]) -> dict[str, bytes]:
        return {name: data for name in names if (data := self.read(name)) is not None}

    def write(self, files: Mapping[str, bytes]) -> None:
        paths = {self.folder / name: data for name, data in files.items()}
        for folder in {path.parent for path in paths}:
            make_folder(folder)
        write_all(paths)

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def move(self, name: str, to: str) -> None:
        make_folder((self.folder / to).parent)
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            os.replace(self.folder / name, self.folder / to)

    def listing(self) -> Iterator[Entry]:
        for folder in _scan(self.where):
            if folder.is_dir(follow_symlinks=False):
                for file in _scan(folder.path):
                    with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                        if file.is_file(follow_symlinks=False):
                            found = file.stat()
                            yield Entry(f"{folder.name}/{file.name}", found.st_size, found.st_mtime)

    def claim(self, name: str) -> Claim | None:
        """An flock, which the kernel frees when its holder dies, on a file that lives as long as the claim.

        A process that forks while it holds one shares it with the child until it releases it.
        """
        path = f"{self.where}/{CLAIMS}/{name}"
        while True:
            descriptor = _open_claim(path)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_open(path, descriptor):
                    return _LocalClaim(path, descriptor)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # its last holder removed the file after we had opened it


def _scan(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _open_claim(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o666)


def _is_open(path: str, descriptor: int) -> bool:
    """Whether the path names the open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


class _LocalClaim(Claim):
    def __init__(self, path: str, descriptor: int):
        self._path, self._descriptor = path, descriptor

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):  # a file left behind is claimed again or removed by gc
                os.unlink(self._path)  # while it is locked: nobody else can have claimed this file
            os.close(descriptor)


class MemoryStorage(Storage):
    """Files in this process's memory, forgotten when it ends; a pickled copy goes its own way."""

    where = "memory"

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, float]] = {}
        self._claims: dict[str, str] = {}

    def exists(self, name: str) -> bool:
        return name in self._files

    def present(self, names: Iterable[str]) -> set[str]:
        return {name for name in names if name in self._files}

    def read(self, name: str) -> bytes | None:
        return self._files.get(name, (None, 0.0))[0]

    def read_many(self, names: Iterable[str]) -> dict[str, bytes]:
        return {name: self._files[name][0] for name in names if name in self._files}

    def write(self, files: Mapping[str, bytes]) -> None:
        now = time.time()
        self._files.update({name: (data, now) for name, data in files.items()})

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            self._files.pop(name, None)

    def move(self, name: str, to: str) -> None:
        if (file := self._files.pop(name, None)) is not None:
            self._files[to] = file

    def listing(self) -> Iterator[Entry]:
        for name, (data, modified) in sorted(self._files.items()):
            yield Entry(name, len(data), modified)

    def claim(self, name: str) -> Claim | None:
        mine = uuid.uuid4().hex
        return _MemoryClaim(self._claims, name, mine) if self._claims.setdefault(name, mine) == mine else None


class _MemoryClaim(Claim):
    def __init__(self, claims: dict[str, str], name: str, mine: str):
        self._claims, self._name, self._mine = claims, name, mine

    def release(self) -> None:
        if self._claims.get(self._name) == self._mine:
            del self._claims[self._name]
