"""A fuse in the calls that change the disk: it burns at the n-th boundary, by death or by an error of the system.

A boundary is the moment before and after each open for writing, write, fsync, replace, unlink, link and mkdir, and the
middle of each write. Installed in a forked child only: the patches stay until the process ends.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

CALLS = ("replace", "rename", "unlink", "remove", "link", "symlink", "mkdir", "rmdir", "fsync", "fdatasync")
NEEDS_ROOM = ("open", "write", "half", "mkdir", "fsync")
"""what a full disk refuses; it still renames and deletes"""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass
class Fuse:
    """Counts boundaries; from number `at` on it burns."""

    at: int | None = None
    """None: only counts"""
    error: int = 0
    """errno of the OSError raised at that boundary and at every one after it; 0: SIGKILL"""
    trace: list[str] = field(default_factory=list)
    """the calls so far, one per boundary"""
    _lock: Any = field(default_factory=threading.Lock)

    def boundary(self, call: str, after: bool = False) -> None:
        """The process is at a boundary of this call."""
        with self._lock:
            self.trace.append(call)
            burns = self.at is not None and len(self.trace) >= self.at
        if burns and not self.error:
            os.kill(os.getpid(), signal.SIGKILL)
        if burns and not after and (call in NEEDS_ROOM or self.error != errno.ENOSPC):
            raise OSError(self.error, os.strerror(self.error))

    def around(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The call with a boundary before and after it."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.boundary(name)
            result = call(*args, **kwargs)
            self.boundary(name, after=True)
            return result

        return wrapped


class _File:
    """A file open for writing whose writes are torn in two."""

    def __init__(self, file: Any, fuse: Fuse):
        self._file, self._fuse = file, fuse

    def write(self, data: Any) -> int:
        half = len(data) // 2
        self._fuse.boundary("write")
        self._file.write(data[:half])
        self._file.flush()
        self._fuse.boundary("half")
        self._file.write(data[half:])
        self._fuse.boundary("write", after=True)
        return len(data)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def install(fuse: Fuse) -> None:
    """Puts the fuse into this process, for good."""
    for name in CALLS:
        setattr(os, name, fuse.around(getattr(os, name), name))
    real_open, real_os_open = builtins.open, os.open

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not set(mode) & set("wxa+"):
            return real_open(file, mode, *args, **kwargs)
        fuse.boundary("open")
        found = real_open(file, mode, *args, **kwargs)
        fuse.boundary("open", after=True)
        return _File(found, fuse)

    def os_opened(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        return (fuse.around(real_os_open, "open") if flags & WRITING else real_os_open)(path, flags, *args, **kwargs)

    builtins.open = io.open = opened  # type: ignore[assignment]
    os.open = os_opened  # type: ignore[assignment]
