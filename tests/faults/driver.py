"""Injects faults into `caretta batch` and checks that a rerun ends as if nothing had happened.

    python tests/faults/driver.py CASE [--every N] [--kills N] [--processes N] [--seed N]

Cases: `boundaries` (SIGKILL at each boundary of each write), `moments` (SIGKILL at random moments), `full` (no space
left, injected), `tmpfs` (no space left, really; needs root), `readonly`, `flips` (a flipped bit in each stored file).
Prints what it did and, as the last line, one JSON object; exits with 1 when something was not as it should be.
"""

from __future__ import annotations

import argparse
import collections
import errno
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuse import Fuse
from scene import CACHE, EXPECTED, Child, Scene, different, leftovers, tree

from stages.core.codecs import unpack

NOBODY = 65534
MEMORY = Path("/dev/shm")
"""what a killed process wrote is there on any file system; in memory the thousands of fsyncs cost nothing"""
ORDER = ("Voice", "Phonemes", "Candidate", "RankedCodes", "Mel", "Audio", "Lineage")
"""types of store entries, each computed from those before it"""
Report = dict[str, Any]


def boundaries(scene: Scene, given: argparse.Namespace) -> Report:
    """Kills at every n-th boundary."""
    trace = scene.boundaries()
    report: Report = {"boundaries": len(trace), "kills": 0, "finished_before": 0, "problems": []}
    for at in range(1 + given.seed % given.every, len(trace) + 1, given.every):
        with scene.fresh() as folder:
            outcome = Child(folder, fuse=Fuse(at)).wait()
            report["kills"] += outcome.code == -9
            report["finished_before"] += len(outcome.finished)
            problems = scene.heals(folder, outcome.finished)
        report["problems"] += [f"boundary {at} ({trace[at - 1]}): {problem}" for problem in problems]
    return report


def moments(scene: Scene, given: argparse.Namespace) -> Report:
    """Kills at random moments; with several processes all of them share the store, and two share each output folder."""
    draw = random.Random(given.seed)
    outs = [f"out{number // 2}" for number in range(given.processes)] if given.processes > 1 else ["out"]
    report: Report = {"processes": given.processes, "kills": 0, "ended_before": 0, "finished_before": 0, "problems": []}
    while report["kills"] < given.kills:
        moment = draw.uniform(0.0, scene.seconds * max(1.0, given.processes / (os.cpu_count() or 1)))
        with scene.fresh(set(outs)) as folder:
            children = [Child(folder, out) for out in outs]
            time.sleep(moment)
            for child in children:
                child.kill()
            ended = [child.wait() for child in children]
            finished = frozenset().union(*(outcome.finished for outcome in ended))
            problems = scene.heals(folder, finished, sorted(set(outs)))
        report["kills"] += sum(outcome.code == -9 for outcome in ended)
        report["ended_before"] += sum(outcome.code == EXPECTED for outcome in ended)
        report["finished_before"] += len(finished)
        report["problems"] += [f"killed after {moment * 1000:.1f} ms: {problem}" for problem in problems]
    return report


def full(scene: Scene, given: argparse.Namespace) -> Report:
    """From every n-th boundary on, nothing can be written any more: no space (ENOSPC), then a failing disk (EIO)."""
    trace = scene.boundaries()
    report: Report = {"boundaries": len(trace), "refused": 0, "problems": []}
    for error in (errno.ENOSPC, errno.EIO):
        for at in range(1 + given.seed % given.every, len(trace) + 1, given.every):
            with scene.fresh() as folder:
                outcome = Child(folder, fuse=Fuse(at, error)).wait()
                report["refused"] += outcome.sentence
                problems = [] if outcome.sentence or _is_whole(scene, folder, outcome.code) else [_ended(outcome)]
                if error == errno.ENOSPC:  # a failing disk does not let go of its files either
                    problems += [f"at once {left}" for left in _partials(folder)]
                problems += scene.heals(folder, outcome.finished)
            where = f"{errno.errorcode[error]} from boundary {at} ({trace[at - 1]})"
            report["problems"] += [f"{where}: {problem}" for problem in problems]
    return report


def tmpfs(scene: Scene, given: argparse.Namespace) -> Report:
    """A real file system of a few pages, then more room."""
    report: Report = {"mounts": 0, "refused": 0, "problems": []}
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return report | {"skipped": "needs root and mount"}
    for pages in range(4, 60, given.every):
        with scene.fresh() as above:
            folder = above / "small"
            folder.mkdir()
            options = f"size={pages * 4096}"
            if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=False).returncode:
                return report | {"skipped": "mounting is not allowed here"}
            try:
                _run_small(scene, above, folder, pages, report)
            finally:
                subprocess.run(["umount", str(folder)], check=True)
    return report


def _run_small(scene: Scene, above: Path, folder: Path, pages: int, report: Report) -> None:
    """One run in a folder of so many pages, and one after there is more room."""
    shutil.copyfile(scene.scratch / "list.txt", above / "list.txt")  # a run reads the list beside its folder
    (folder / "out").mkdir()
    (folder / "out" / "choices.yaml").write_bytes(scene.choices)
    outcome = Child(folder).wait()
    report["mounts"] += 1
    report["refused"] += outcome.sentence
    problems = [] if outcome.sentence or _is_whole(scene, folder, outcome.code) else [_ended(outcome)]
    problems += [f"at once {left}" for left in _partials(folder)]
    subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
    problems += scene.heals(folder, outcome.finished)
    report["problems"] += [f"{pages} pages: {problem}" for problem in problems]


def readonly(scene: Scene, _: argparse.Namespace) -> Report:
    """No right to write: a read-only file system (injected) and folders that belong to somebody else (as nobody)."""
    report: Report = {"cases": 0, "refused": 0, "problems": []}
    for name, finished, locked in (
        ("a new run, read-only file system", False, None),
        ("a new run, store", False, CACHE),
        ("a new run, output folder", False, Path("out")),
        ("a finished run, store", True, CACHE),
        ("a finished run, output folder", True, Path("out")),
    ):
        if locked is not None and os.geteuid() != 0:
            continue  # only root can become nobody
        with scene.fresh(full=finished) as folder:
            before = tree(folder) if finished else None
            outcome = _without_rights(folder, locked)
            report["cases"] += 1
            report["refused"] += outcome.sentence
            whole = _is_whole(scene, folder, outcome.code)
            problems = [] if outcome.sentence or whole else [_ended(outcome)]
            if before is not None:
                problems += different(before, tree(folder))
            problems += scene.heals(folder, outcome.finished)
        report["problems"] += [f"{name}: {problem}" for problem in problems]
    return report


def _without_rights(folder: Path, locked: Path | None) -> Any:
    """A run that may not write: anywhere (None) or in one folder."""
    if locked is None:
        return Child(folder, fuse=Fuse(1, errno.EROFS)).wait()
    (folder / locked).mkdir(parents=True, exist_ok=True)
    for path in (folder, *folder.rglob("*")):
        inside = path == folder / locked or (folder / locked) in path.parents
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.chown(path, *((0, 0) if inside else (NOBODY, NOBODY)))
    outcome = Child(folder, before=lambda: os.setuid(NOBODY)).wait()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 0, 0)
    return outcome


def flips(scene: Scene, given: argparse.Namespace) -> Report:
    """Flips a bit in every stored file in turn, and lets the next run read that file."""
    draw = random.Random(given.seed)
    kinds: collections.Counter[str] = collections.Counter()
    report: Report = {"flips": 0, "healed": 0, "refused": 0, "dropped_aloud": 0, "problems": []}
    stored = sorted(p.relative_to(scene.whole) for p in scene.whole.rglob("*") if p.is_file())
    stored = [name for name in stored if given.file in name.name]
    for name in stored[given.seed % given.every :: given.every]:
        kind = _kind(scene.whole / name)
        for bit in draw.sample(range(8 * (scene.whole / name).stat().st_size), given.bits):
            kinds[kind] += 1
            found = _flip(scene, name, kind, bit, report)
            report["problems"] += [f"{name} ({kind}), bit {bit}: {problem}" for problem in found]
    return report | {"flips": sum(kinds.values()), "kinds": dict(kinds)}


def _flip(scene: Scene, name: Path, kind: str, bit: int, report: Report) -> list[str]:
    """One bit: the run must give the right outputs and mend the file, or refuse, or say which choice it drops."""
    with scene.fresh(full=True) as folder:
        data = bytearray((folder / name).read_bytes())
        data[bit // 8] ^= 1 << bit % 8
        (folder / name).write_bytes(data)
        _forget_what_follows(folder, kind, name)
        outcome = Child(folder).wait()
        wrong = different(_outputs(scene.reference), _outputs(tree(folder)))
        report["healed"] += not wrong
        if outcome.sentence or (wrong and "so its choice in choices.yaml is dropped" in outcome.stderr):
            report["refused" if outcome.sentence else "dropped_aloud"] += 1
            return []
        if wrong:
            return [f"exit code {outcome.code}, wrong in silence: {wrong[:4]}"]
        # choices.yaml is a file that people write: what still means the same stays as it is
        problems = [] if kind == "choices.yaml" else different(scene.reference, tree(folder))
        return problems + leftovers(folder)


def _kind(path: Path) -> str:
    """The type of a store entry, or the name (for sounds: the suffix) of another file."""
    if path.suffix == ".safetensors":
        return str(unpack(path.parent.name + path.stem, path.read_bytes())[1]["type"])
    return path.suffix if path.suffix == ".wav" else "timings" if path.parent.name == "timings" else path.name


def _forget_what_follows(folder: Path, kind: str, name: Path) -> None:
    """Removes the outputs and later stages' entries, without which the next run would never read a store entry."""
    if kind not in ORDER:
        return
    for path in (folder / "out").rglob("*"):
        if path.is_file() and path.name != "choices.yaml":
            path.unlink()
    for path in (folder / CACHE).glob("[0-9a-f][0-9a-f]/*.safetensors"):
        if path.relative_to(folder) != name and ORDER.index(_kind(path)) > ORDER.index(kind):
            path.unlink()


def _outputs(found: dict[str, str]) -> dict[str, str]:
    """Sounds and manifest alone."""
    return {name: value for name, value in found.items() if name.endswith((".wav", "manifest.jsonl"))}


def _is_whole(scene: Scene, folder: Path, code: int) -> bool:
    return code == EXPECTED and not different(scene.reference, tree(folder))


def _ended(outcome: Any) -> str:
    return f"ended with {outcome.code} and {outcome.stderr.strip()[-300:]!r}, which is not one sentence"


def _partials(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*.partial")]


CASES: dict[str, Callable[[Scene, argparse.Namespace], Report]] = {
    case.__name__: case for case in (boundaries, moments, full, tmpfs, readonly, flips)
}


def main() -> int:
    """Runs one case in a scratch folder of its own."""
    options = argparse.ArgumentParser(description="Fault injection into caretta batch.")
    options.add_argument("case", choices=CASES)
    options.add_argument("--every", type=int, default=1, help="only every n-th boundary or file")
    options.add_argument("--kills", type=int, default=200, help="moments: so many kills")
    options.add_argument("--processes", type=int, default=1, help="moments: on one store")
    options.add_argument("--bits", type=int, default=1, help="flips: so many in each file, one at a time")
    options.add_argument("--file", default="", help="flips: only in files with this in their name")
    options.add_argument("--seed", type=int, default=0, help="another seed, other moments and bits")
    given = options.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="caretta-faults-", dir=MEMORY if MEMORY.is_dir() else None) as scratch:
        scene = Scene(Path(scratch))
        report = CASES[given.case](scene, given)
    for problem in report["problems"][:40]:
        print(problem)
    more = {"case": given.case, "whole_run_seconds": round(scene.seconds, 3)}
    report = more | report | {"seconds": round(time.perf_counter() - start, 1)}
    for name, value in report.items():
        print(f"{name:20} {len(value) if name == 'problems' else value}")
    print(json.dumps(report))
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
