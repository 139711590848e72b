"""The progress bar of commands that run without the flow engine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


class Progress:
    """A progress bar on stderr when it is a terminal; otherwise silent. As a context it gives the function to call."""

    def __init__(self, unit: str):
        self.unit = unit
        self.bar: Any = None
        self.task: Any = None

    def __enter__(self) -> Callable[[int, int], None]:
        return self.advance

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def advance(self, done: int, total: int) -> None:
        """`done` more are finished of `total`."""
        if total < 2 or not sys.stderr.isatty():
            return
        if self.bar is None:
            from rich.console import Console
            from rich.progress import Progress

            self.bar = Progress(console=Console(stderr=True), transient=True)
            self.task = self.bar.add_task(self.unit, total=total)
            self.bar.start()
        self.bar.advance(self.task, done)
