"""Files that are written whole or not at all, and stay after a power cut."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PARTIAL = ".partial"
"""how the name of a file ends that is being written"""
STALE_SECONDS = 3600.0
"""a partial file that is older was left behind by a crash, whoever wrote it"""
_WRITERS = 8
_PARTIAL = re.compile(rf"\.[0-9a-f]{{32}}-([0-9a-f]{{8}})-([0-9]+){re.escape(PARTIAL)}")


def write_atomic(path: Path, data: bytes) -> None:
    """Writes `data` so that `path` is what it was or all of `data`, also after a power cut. Raises OSError."""
    write_all({path: data})


def write_all(files: Mapping[Path, bytes]) -> None:
    """Group commit: each file is written atomically, and all of them are durable when this returns.

    A failure leaves every file as it was or whole, and no partial file. Folders must exist. Raises OSError.
    """
    partials = {path: partial_path(path) for path in files}
    try:
        _concurrently(_write_synced, partials.values(), files.values())
        for path, partial in partials.items():
            os.replace(partial, path)
    except BaseException:  # an interrupt must not leave partial files either; always raised again
        for partial in partials.values():
            with contextlib.suppress(OSError):
                partial.unlink()
        raise
    _concurrently(sync_folder, {path.parent for path in files})


def partial_path(path: Path) -> Path:
    """A new name beside `path` for what is being written to it; short, whatever the length of the file's own name."""
    return path.with_name(f".{uuid.uuid4().hex}-{_host()}-{os.getpid()}{PARTIAL}")


def remove_abandoned(folder: Path) -> None:
    """Removes the partial files below a folder whose writer is dead: a process of this machine, or one of an hour ago.

    Raises OSError.
    """
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names if name.endswith(PARTIAL)):
            with contextlib.suppress(FileNotFoundError):  # its writer was faster
                if is_abandoned(path.name, time.time() - path.stat().st_mtime):
                    path.unlink()


def is_abandoned(name: str, age: float) -> bool:
    """Whether a partial file's writer is dead, from the file's name and its age in seconds."""
    match = _PARTIAL.fullmatch(name)
    if age > STALE_SECONDS or match is None or match[1] != _host():
        return age > STALE_SECONDS
    try:
        os.kill(int(match[2]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # it lives, and is somebody else's
        pass
    return False


@functools.cache
def _host() -> str:
    """This machine, in a file name."""
    return hashlib.sha256(platform.node().encode("utf-8", "replace")).hexdigest()[:8]


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it where they are missing, durably. Raises OSError."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Makes renames within a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _concurrently(call: Callable[..., None], *arguments: Collection[Any]) -> None:
    """Calls for all arguments at once: file systems gather concurrent fsyncs into few commits of their journal."""
    if len(arguments[0]) < 2:  # without threads for nothing
        for column in zip(*arguments, strict=True):
            call(*column)
        return
    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(call, *arguments))


def _write_synced(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
