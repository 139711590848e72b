"""Object stores (S3, Google Cloud Storage) and fsspec's memory as a storage.

An object appears whole or not at all, so writes need no partial files. Secrets come from the environment, where the
drivers look for them (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS…).
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import logging
import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

import fsspec

from stages.core.fingerprint import canonical
from stages.core.storage import BEATS, CLAIMS, Claim, Entry, Storage, StoreError

T = TypeVar("T")
log = logging.getLogger("caretta.store")
LEASE = 60.0
"""seconds without a beat after which a holder counts as dead"""
BEAT = 20.0
"""seconds between beats"""
_DRIVERS = {"s3": ("s3fs", "uv sync --extra s3"), "gs": ("gcsfs", "uv pip install gcsfs"), "memory": ("fsspec", "")}
_URL = re.compile(r"(\w+)://([^@?*\[\]]+)")
_REQUESTS = 32
"""at once; how many connections are kept"""
# a server that is stuck is given up after a minute: 3 attempts of botocore, 2 of s3fs
_S3: dict[str, Any] = {
    "max_concurrency": 1,  # else s3fs asks for the size before it reads
    "config_kwargs": {
        "connect_timeout": 5, "read_timeout": 10, "max_pool_connections": _REQUESTS,
        "retries": {"mode": "standard", "total_max_attempts": 3},
    },
}  # fmt: skip
_LISTED_FROM = 200
"""names asked for in one folder from which it is listed: a LIST tells 1,000 names, and the folder may hold many times
that"""


class RemoteStorage(Storage):
    """A URL that any number of threads and processes on any machines may read and write at once."""

    def __init__(self, url: str, options: Mapping[str, Any]):
        """Connects to nothing yet. Raises StoreError: not a URL of a known kind, its driver is not installed."""
        found = _URL.fullmatch(url)
        if found is None:
            raise StoreError("cache.dir: cannot be this URL; give s3://bucket/prefix, without @ ? * [ ] in it")
        if found[1] not in _DRIVERS:
            raise StoreError(f"{url}: no store can be at {found[1]}://; give a folder or {', '.join(_DRIVERS)}://…")
        driver, command = _DRIVERS[found[1]]
        if importlib.util.find_spec(driver) is None:
            raise StoreError(f"{url}: needs the package {driver}, which is not installed; run {command}")
        self.where, self._options = url.rstrip("/"), canonical(options)

    def exists(self, name: str) -> bool:
        return bool(self.present([name]))

    def present(self, names: Iterable[str]) -> set[str]:
        folders: dict[str, list[str]] = {}
        for name in names:
            folders.setdefault(name.partition("/")[0], []).append(name)
        listed = [folder for folder, wanted in folders.items() if len(wanted) >= _LISTED_FROM]
        single = [name for wanted in folders.values() if len(wanted) < _LISTED_FROM for name in wanted]
        there = {entry.name for entries in _at_once(self._list, listed) for entry in entries}
        found = {name for folder in listed for name in folders[folder] if name in there}
        # the first byte of each: a HEAD costs the same, and s3fs follows one that fails with a LIST
        return found | self._cat(single, start=0, end=1).keys()

    def read(self, name: str) -> bytes | None:
        return self._cat([name]).get(name)

    def read_many(self, names: Iterable[str]) -> dict[str, bytes]:
        return self._cat(list(names))

    def write(self, files: Mapping[str, bytes]) -> None:
        with self._connected() as (fs, root):
            fs.pipe({f"{root}/{name}": data for name, data in files.items()})

    def delete(self, names: Iterable[str]) -> None:
        with self._connected() as (fs, root):  # one by one: s3fs keeps to itself what a bulk delete did not delete
            _at_once(lambda name: _remove(fs, f"{root}/{name}"), list(names))

    def move(self, name: str, to: str) -> None:
        with self._connected() as (fs, root), contextlib.suppress(FileNotFoundError):  # another process was faster
            fs.cp_file(f"{root}/{name}", f"{root}/{to}")
            _remove(fs, f"{root}/{name}")

    def listing(self) -> Iterator[Entry]:
        with self._connected() as (fs, root):
            try:
                folders = sorted(
                    i["name"].rpartition("/")[2] for i in fs.ls(root, detail=True) if i["type"] == "directory"
                )
            except FileNotFoundError:
                return  # nothing was ever written
            with ThreadPoolExecutor(_REQUESTS) as pool:
                for entries in pool.map(self._list, folders):
                    yield from entries

    def modified(self, name: str) -> float | None:
        """When a file was written, None when it does not exist; seconds since the epoch, by the store's clock."""
        with self._connected() as (fs, root):
            try:
                return _modified(fs.info(f"{root}/{name}"))
            except FileNotFoundError:
                return None

    def claim(self, name: str) -> Claim | None:
        """An object that only one can create. It names its holder, a process, which shows that it lives by writing an
        object of its own every BEAT seconds; the claims of a holder without a beat for LEASE seconds are free.

        Ages are differences of the store's own time stamps, so that the clocks of machines need not agree. On S3, of
        several who take over a dead holder's claim exactly one gets it; elsewhere, in rare cases, two.
        """
        with self._connected() as (fs, root):
            holder = _holder(self.where, self._options, os.getpid())
            path, mine = f"{root}/{CLAIMS}/{name}", f"{holder.id} {uuid.uuid4().hex}".encode("ascii")
            try:
                fs.pipe_file(path, mine, mode="create")
            except OSError as error:
                if not _is_conflict(error):
                    raise
                if not _taken_over(fs, path, mine, holder):
                    return None
            return _RemoteClaim(self, name, holder)

    def _cat(self, names: list[str], **limits: int) -> dict[str, bytes]:
        if not names:
            return {}
        with self._connected() as (fs, root):
            found = fs.cat([f"{root}/{name}" for name in names], on_error="return", **limits)
            for path, data in found.items():
                if isinstance(data, Exception) and _status(data) == 416:
                    found[path] = b""  # an empty object has no first byte
                elif isinstance(data, Exception) and not isinstance(data, FileNotFoundError):
                    raise data
            return {path.removeprefix(f"{root}/"): data for path, data in found.items() if isinstance(data, bytes)}

    def _list(self, folder: str) -> list[Entry]:
        with self._connected() as (fs, root):
            found = fs.find(f"{root}/{folder}", detail=True)
        return [Entry(path.removeprefix(f"{root}/"), i["size"], _modified(i)) for path, i in sorted(found.items())]

    @contextlib.contextmanager
    def _connected(self) -> Iterator[tuple[Any, str]]:
        """The file system and the root in it; what its driver raises becomes an OSError with the reason."""
        try:
            yield _connect(self.where, self._options, os.getpid())
        except _driver_errors() as error:
            hint = "; check the credentials in the environment" if isinstance(error, PermissionError) else ""
            raise OSError(f"{error or type(error).__name__}{hint}") from error


@functools.cache
def _connect(url: str, options: str, process: int) -> tuple[Any, str]:
    """A file system per process: its connections do not survive a fork. Raises OSError: no such bucket, no rights."""
    fs, root = _open(url, json.loads(options))
    bucket = root.partition("/")[0]
    if bucket:  # the memory has none
        try:
            fs.info(bucket)
        except FileNotFoundError:  # later it would look like an entry that does not exist
            raise OSError(f"there is no bucket {bucket}") from None
    return fs, root


def _open(url: str, options: dict[str, Any]) -> tuple[Any, str]:
    if not url.startswith("s3://"):
        return fsspec.url_to_fs(url, use_listings_cache=False, **options)
    from botocore.handlers import add_expect_header

    options = _S3 | options
    options["config_kwargs"] = _S3["config_kwargs"] | options["config_kwargs"]
    fs, root = fsspec.url_to_fs(url, use_listings_cache=False, **options)
    fs.retries = 2  # of a read broken off; the rest is retried by botocore
    # "Expect: 100-continue" costs a round trip per write, and makes it wait without limit for a server that is stuck
    fs.s3.meta.events.unregister("before-call.s3", add_expect_header)
    return fs, root


def _driver_errors() -> tuple[type[Exception], ...]:
    names = (
        ("botocore.exceptions", "BotoCoreError"), ("botocore.exceptions", "ClientError"), ("aiohttp", "ClientError"),
        ("gcsfs.retry", "HttpError"), ("google.auth.exceptions", "GoogleAuthError"),
    )  # fmt: skip
    return OSError, *(getattr(sys.modules[module], name) for module, name in names if module in sys.modules)


def _at_once(call: Callable[[str], T], names: Sequence[str]) -> list[T]:
    if len(names) < 2:
        return [call(name) for name in names]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(call, names))


def _remove(fs: Any, path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


def _modified(info: Mapping[str, Any]) -> float:
    stamp = next(info[key] for key in ("LastModified", "mtime", "updated", "created") if key in info)
    if isinstance(stamp, str):
        stamp = datetime.fromisoformat(stamp)
    return stamp.timestamp() if isinstance(stamp, datetime) else float(stamp)


class _Holder:
    """This process among those that hold claims: a thread writes its beat as long as the process lives."""

    def __init__(self, storage: RemoteStorage):
        self.id = uuid.uuid4().hex
        self.claims: set[str] = set()
        self._storage = storage
        self._beat()
        threading.Thread(target=self._beat_forever, name="caretta-claims", daemon=True).start()

    def is_alive(self) -> bool:
        """False: it could not write for so long that others take its claims over."""
        return time.monotonic() - self._beaten < LEASE

    def sees_alive(self, other: str) -> bool:
        """Whether another holder's last beat is young enough."""
        beat = self._storage.modified(f"{BEATS}/{other}")
        now = self._now + time.monotonic() - self._beaten
        return beat is not None and now - beat < LEASE

    def _beat(self) -> None:
        name, at = f"{BEATS}/{self.id}", time.monotonic()
        self._storage.write({name: b"alive"})
        now = self._storage.modified(name)
        if now is not None:
            self._now, self._beaten = now, at

    def _beat_forever(self) -> None:
        while True:
            time.sleep(BEAT)
            try:
                self._beat()
            except OSError as error:
                if self.claims:  # else nobody is harmed
                    log.warning("%s: claims are not renewed (%s); others may do the same", self._storage.where, error)


@functools.cache
def _holder(url: str, options: str, process: int) -> _Holder:
    return _Holder(RemoteStorage(url, json.loads(options)))


class _RemoteClaim(Claim):
    def __init__(self, storage: RemoteStorage, name: str, holder: _Holder):
        self._storage, self._name, self._holder, self._held = storage, f"{CLAIMS}/{name}", holder, True
        holder.claims.add(name)

    def release(self) -> None:
        held, self._held = self._held, False
        self._holder.claims.discard(self._name.partition("/")[2])
        if held and self._holder.is_alive():  # else it may be another's by now
            try:
                self._storage.delete([self._name])
            except OSError as error:
                log.warning("%s/%s: cannot be released (%s)", self._storage.where, self._name, error)


def _taken_over(fs: Any, path: str, mine: bytes, holder: _Holder) -> bool:
    """Whether a claim that exists is mine after all, or was a dead holder's and is mine now."""
    try:
        version, theirs = fs.info(path), fs.cat_file(path)
        if theirs != mine:  # equal: a create whose answer was lost, and which the driver repeated
            if holder.sees_alive(theirs.decode("ascii").split(" ")[0]):
                return False
            _replace(fs, path, mine, version)
        return bool(fs.cat_file(path) == mine)
    except FileNotFoundError:
        return False  # released just now; whoever asks again gets it


def _replace(fs: Any, path: str, data: bytes, version: Mapping[str, Any]) -> None:
    """Writes an object unless somebody has done so since `version`."""
    try:
        if "ETag" in version:  # S3
            fs.pipe_file(path, data, IfMatch=version["ETag"])
        else:
            _remove(fs, path)
            fs.pipe_file(path, data, mode="create")
    except OSError as error:
        if not _is_conflict(error):
            raise


def _is_conflict(error: OSError) -> bool:
    """Whether a conditional write failed because of its condition: how it is told differs among servers."""
    return isinstance(error, FileExistsError) or _status(error) in (409, 412)


def _status(error: Exception) -> int | None:
    """The HTTP status that s3fs made this error of."""
    answer: dict[str, Any] = getattr(error.__cause__, "response", {})
    return answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
