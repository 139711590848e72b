"""What the benches share: `caretta` in processes of their own with fake stages, and how much memory those hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
INTERVAL = 0.2
"""seconds between looks at the memory"""


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    result: Any
    """the JSON value on its last line"""
    output: str
    memory: float
    """MB, the most that it and its descendants held at once (shared pages counted in each)"""


class Running:
    """Python code in a new process, watched."""

    def __init__(self, code: str, folder: Path, *arguments: object, home: Path | None = None):
        """
        Args:
            folder: its working directory, also on its path.
            home: PREFECT_HOME; by default the store decides.
        """
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        path = os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "fakes", folder)))
        extra = {"PYTHONPATH": path} | ({"PREFECT_HOME": str(home)} if home else {})
        self._log = tempfile.TemporaryFile("w+")
        command = [sys.executable, "-c", code, *map(str, arguments)]
        self.process = subprocess.Popen(
            command, cwd=folder, env=clean | extra, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
        )
        self._memory, self._over = 0.0, threading.Event()
        self._watch = threading.Thread(target=self._sample, daemon=True)
        self._watch.start()

    def _sample(self) -> None:
        while not self._over.wait(INTERVAL):
            self._memory = max(self._memory, sum(map(_megabytes, _session(self.process.pid))))

    def wait(self) -> Ended:
        """Waits for its end. Raises SystemExit with its last lines when it failed."""
        code = self.process.wait()
        self._over.set()
        self._watch.join()
        with self._log as log:
            log.seek(0)
            output = log.read()
        if code:
            raise SystemExit(f"a process of the bench ended with {code}:\n{output[-2000:]}")
        return Ended(json.loads(output.splitlines()[-1]), output, round(self._memory, 1))


def _session(leader: int) -> list[int]:
    """Processes of the session that a process leads."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[3]) == leader:
            found.append(int(path.parent.name))
    return found


def _megabytes(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def print_rows(rows: list[tuple[str, object, str]]) -> None:
    """A table of name, value and bar or remark."""
    for name, value, remark in rows:
        shown = f"{value:.3f}" if isinstance(value, float) else str(value)
        print(f"{name:44}{shown:>14}  {remark}".rstrip())
