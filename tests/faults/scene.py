"""Where faults are injected: a small corpus, fake stages, and runs of `caretta batch` in forked children.

The driver imports everything once; a run is a fork, so a case costs milliseconds and starts from the same state.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fakes")]

import fakestages  # noqa: E402
from fuse import Fuse, install  # noqa: E402

from flows import cli  # noqa: E402
from stages.core.artifacts import ArtifactStore  # noqa: E402
from stages.core.codecs import DamagedEntry, unpack  # noqa: E402

LINES = ["Hello there.", "How are you? I am well.", "Please explode.", "One more line.", "Hello there.", "…!"]
EXPECTED = 3
"""the exit code of a whole run: one line fails and one has nothing to say"""
CACHE = Path("artifacts") / "cache"
CHOICES = ("--redo", "0004", "--pick", "0001=1")
ARGUMENTS = ("--runner", "inline", "--preset", "ultra_fast", "--set", "shard=2", "--export", "ljspeech")
Tree = dict[str, str]


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    code: int
    """exit code; minus the signal's number when it was killed"""
    finished: frozenset[str]
    """keys whose put had returned"""
    stderr: str

    @property
    def sentence(self) -> bool:
        """Whether it could not run and said so in one sentence."""
        told = [line for line in self.stderr.splitlines() if line.startswith("caretta: ")]
        return self.code == 1 and len(told) == 1 and "Traceback" not in self.stderr


class Child:
    """A run of `caretta batch` in a forked process."""

    def __init__(self, folder: Path, out: str = "out", fuse: Fuse | None = None, extra: Iterable[str] = (),
                 before: Callable[[], None] | None = None):  # fmt: skip
        """
        Args:
            folder: working directory of the run; the store is under it.
            before: is called in the child first.
        """
        self._log = tempfile.TemporaryFile()
        read_end, write_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(read_end)
            _run(folder, [*ARGUMENTS, "--out", out, *extra], fuse, before, write_end, self._log.fileno())
        os.close(write_end)
        self._finished = os.fdopen(read_end, "rb")

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> Outcome:
        """Waits for its end."""
        with self._finished as pipe:
            keys = pipe.read().decode("ascii").split()
        _, status = os.waitpid(self.pid, 0)
        with self._log as log:
            log.seek(0)
            return Outcome(os.waitstatus_to_exitcode(status), frozenset(keys), log.read().decode("utf-8", "replace"))


def _run(
    folder: Path, extra: list[str], fuse: Fuse | None, before: Callable[[], None] | None, pipe: int, log: int
) -> None:
    """The child's life."""
    code = 70
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(log, 2)
        os.chdir(folder)
        _tell_finished(pipe)
        if before is not None:
            before()
        if fuse is not None:
            install(fuse)
        code = cli.main(["batch", str(folder.parent / "list.txt"), *extra])
    finally:
        sys.stderr.flush()
        os._exit(code)


def _tell_finished(pipe: int) -> None:
    put_many, write = ArtifactStore.put_many, os.write

    def told(self: ArtifactStore, values: dict) -> None:
        put_many(self, values)
        write(pipe, "".join(f"{key}\n" for key in values).encode("ascii"))

    ArtifactStore.put_many = told  # type: ignore[method-assign,assignment]


class Scene:
    """A scratch folder with voices, a corpus, and what an uninterrupted run makes of it."""

    def __init__(self, scratch: Path):
        self.scratch = scratch
        scratch.chmod(0o755)  # some cases run without root's rights
        fakestages.install(scratch)
        (scratch / "list.txt").write_text("\n".join(LINES), encoding="utf-8")
        self.reference, self.choices = self._whole_run()

    def _whole_run(self) -> tuple[Tree, bytes]:
        first = self._folder("choices")
        chosen = Child(first, extra=CHOICES).wait()
        if chosen.code != EXPECTED:
            raise SystemExit(f"the uninterrupted run ended with {chosen.code}: {chosen.stderr}")
        choices = (first / "out" / "choices.yaml").read_bytes()
        shutil.rmtree(first)
        folder = self._folder("whole")
        (folder / "out").mkdir()
        (folder / "out" / "choices.yaml").write_bytes(choices)
        started = time.perf_counter()
        outcome = Child(folder).wait()
        self.seconds = time.perf_counter() - started
        if outcome.code != EXPECTED:
            raise SystemExit(f"the uninterrupted run ended with {outcome.code}: {outcome.stderr}")
        self.whole = folder
        return tree(folder), choices

    def _folder(self, name: str) -> Path:
        folder = self.scratch / name
        folder.mkdir()
        return folder

    @contextlib.contextmanager
    def fresh(self, outs: Iterable[str] = ("out",), full: bool = False):
        """A folder for one case, removed after it; with `full` a copy of the finished run."""
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        folder.chmod(0o755)
        try:
            if full:
                shutil.copytree(self.whole, folder, dirs_exist_ok=True)
            else:
                for out in outs:
                    (folder / out).mkdir(exist_ok=True)
                    (folder / out / "choices.yaml").write_bytes(self.choices)
            yield folder
        finally:
            shutil.rmtree(folder)

    def boundaries(self) -> list[str]:
        """The call at each boundary of an uninterrupted run."""
        with self.fresh() as folder, tempfile.TemporaryFile() as told:
            fuse = Fuse()
            if (pid := os.fork()) == 0:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                os.dup2(1, 2)
                os.chdir(folder)
                install(fuse)
                cli.main(["batch", str(self.scratch / "list.txt"), *ARGUMENTS, "--out", "out"])
                os.write(told.fileno(), json.dumps(fuse.trace).encode("ascii"))
                os._exit(0)
            os.waitpid(pid, 0)
            told.seek(0)
            trace: list[str] = json.loads(told.read())
            return trace

    def heals(self, folder: Path, finished: frozenset[str], outs: Iterable[str] = ("out",)) -> list[str]:
        """Runs again, cleanly, and says what is not as it should be then: [] is as if nothing had happened."""
        problems = []
        for out in outs:
            outcome = Child(folder, out).wait()
            if outcome.code != EXPECTED or "Traceback" in outcome.stderr:
                problems.append(f"rerun ended with {outcome.code}: {outcome.stderr.strip()[-300:]}")
            if again := outcome.finished & finished:
                problems.append(f"rerun computed {len(again)} finished items again")
            finished |= outcome.finished
            problems += different(self.reference, tree(folder, out))
        return problems + leftovers(folder)


def tree(folder: Path, out: str = "out") -> Tree:
    """Digests by name of the output folder and of the store's entries, without the seconds in lineage records."""
    outputs = (path for path in (folder / out).rglob("*") if path.is_file())
    found = {f"out/{path.relative_to(folder / out)}": _digest(path.read_bytes()) for path in outputs}
    for path in (folder / CACHE).glob("[0-9a-f][0-9a-f]/*.safetensors"):
        found[f"store/{path.parent.name}/{path.name}"] = _entry_digest(path)
    return {name: value for name, value in found.items() if not name.endswith(".partial")}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _entry_digest(path: Path) -> str:
    data = path.read_bytes()
    try:
        _, meta = unpack(path.parent.name + path.name.partition(".")[0], data)
    except DamagedEntry:
        return f"damaged {_digest(data)}"
    if meta["type"] != "Lineage":
        return _digest(data)
    meta["record"].pop("seconds", None)
    return _digest(json.dumps(meta, sort_keys=True).encode("utf-8"))


def different(wanted: Tree, found: Tree) -> list[str]:
    """In which files two trees differ."""
    names = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    return [f"{name}: {'missing' if name not in found else 'too much' if name not in wanted else 'differs'}"
            for name in names]  # fmt: skip


def leftovers(folder: Path) -> list[str]:
    """Files of a crash that are there after `cache gc`, an hour later."""
    for path in folder.rglob("*.partial"):
        os.utime(path, (0, 0))
    ArtifactStore(folder / CACHE).gc()
    known = ("timings", "prefect")
    left = [path for path in folder.rglob("*") if path.is_file() and path.name.endswith(".partial")]
    store = (path for path in (folder / CACHE).rglob("*") if path.is_file() and path.suffix != ".safetensors")
    left += [path for path in store if path.parent.name not in known and path not in left]
    return [f"left behind: {path.relative_to(folder)}" for path in left]
