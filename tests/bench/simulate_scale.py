"""What ten million utterances mean: the store's layout and listing, requests and cost at S3, Prefect's load, planning.

    python tests/bench/simulate_scale.py [--utterances 10000000] [--workers 64]

Every row says whether its number was measured here, just now, or is extrapolated from such numbers, or assumed. Ends
with how to split such a corpus. Prints tables and, as the last line, one JSON object. Takes about a minute.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import gc
import hashlib
import io
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fakes")]

SHARD = 128
FOLDERS = 256
PAGE = 1000
"""names that one LIST tells"""
LISTED_FROM = 16
"""names asked for in one folder from which `RemoteStorage.present` lists it"""

# Assumed: list prices of S3 Standard in us-east-1, 2025. Check yours.
DOLLARS_PER_1000_PUT = 0.005  # and LIST; DELETE is free
DOLLARS_PER_1000_GET = 0.0004
DOLLARS_PER_GB_MONTH = 0.023
DOLLARS_PER_CORE_HOUR = 0.04
# Assumed: seconds of an S3 request and how many a process has under way.
REQUEST_SECONDS, LIST_SECONDS, AT_ONCE = 0.03, 0.1, 32
# Measured in shared/reference/prefect.md: what a server with SQLite needs to record a task run.
SERVER_SECONDS_PER_TASK = (0.050, 0.085)


class Table:
    """Rows for people and the same numbers for machines."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def head(self, text: str) -> None:
        print(f"\n{text}")

    def row(self, name: str, value: float, unit: str, source: str) -> None:
        """`source` is one of measured, extrapolated, assumed."""
        self.values[name] = round(value, 6)
        shown = f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
        print(f"  {name.replace('_', ' '):44}{shown:>16} {unit:18} {source}")


def key_spread(count: int) -> np.ndarray:
    """How many of `count` keys fall into each of the 256 folders."""
    found = np.zeros(FOLDERS, np.int64)
    for start in range(0, count, 500_000):
        digests = b"".join(hashlib.sha256(b"%d" % n).digest()[:1] for n in range(start, min(start + 500_000, count)))
        found += np.bincount(np.frombuffer(digests, np.uint8), minlength=FOLDERS)
    return found


def listing_speed(files: int) -> dict[str, float]:
    """Seconds per file to list one folder of a local store with so many files, and to look one up in it."""
    from stages.core.artifacts import ArtifactStore, entry_name

    with tempfile.TemporaryDirectory() as scratch:
        store = ArtifactStore(scratch)
        keys = ["ab" + hashlib.sha256(b"%d" % n).hexdigest()[2:] for n in range(files)]
        os.mkdir(f"{scratch}/ab")
        for key in keys:
            os.close(os.open(f"{scratch}/{entry_name(key)}", os.O_CREAT | os.O_WRONLY))
        start = time.perf_counter()
        counted = sum(1 for _ in os.scandir(f"{scratch}/ab"))
        names = time.perf_counter() - start
        assert counted == files
        start = time.perf_counter()
        assert store.stats()["entries"] == files
        stats = time.perf_counter() - start
        start = time.perf_counter()
        assert len(store.present(keys[:: max(1, files // 20_000)])) >= 20_000 * (files >= 20_000)
        look = (time.perf_counter() - start) / len(keys[:: max(1, files // 20_000)])
    return {"names": names / files, "stats": stats / files, "look": look}


def planning_cost(lines: int) -> tuple[float, float]:
    """Seconds and bytes that the keys of one line take, with the starter route."""
    from stages.core.pipeline import Pipeline
    from stages.core.route import load_route
    from stages.core.voices import load_voice

    sentences = evaluation_sentences()
    with contextlib.chdir(ROOT):
        pipeline, voice = Pipeline(load_route()), load_voice("rms")
        texts = [f"{sentences[n % len(sentences)]} {n}" for n in range(lines)]
        pipeline.document(texts[0], voice, 0)  # loads the splitter and the weights' digests
        gc.collect()
        before, start = resident_bytes(), time.perf_counter()
        documents = [pipeline.document(text, voice, 0) for text in texts]
        seconds = time.perf_counter() - start
        return seconds / len(documents), (resident_bytes() - before) / len(documents)


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def evaluation_sentences() -> list[str]:
    return (ROOT / "configs" / "evaluate" / "ordinary.txt").read_text(encoding="utf-8").splitlines()


def real_run(lines: int) -> tuple[dict[str, Any], dict[str, list[int]], int]:
    """A small run of the starter models: its report, sizes of store entries by type, bytes of the output folder."""
    from stages.core.codecs import unpack

    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "list.txt").write_text("\n".join(evaluation_sentences()[:lines]), encoding="utf-8")
        command = [sys.executable, "-m", "flows.cli", "batch", f"{scratch}/list.txt", "--out", f"{scratch}/out",
                   "--runner", "inline", "--json", "--set", f"cache.dir={scratch}/cache"]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"the small run failed: {done.stderr.strip().splitlines()[-1:]}")
        sizes = collections.defaultdict(list)
        for path in Path(scratch, "cache").glob("[0-9a-f][0-9a-f]/*.safetensors"):
            data = path.read_bytes()
            sizes[unpack(path.parent.name + path.stem, data)[1]["type"]].append(len(data))
        output = sum(path.stat().st_size for path in Path(scratch, "out").iterdir())
        report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return report, dict(sizes), output


def requests_of_a_run(lines: int, candidates: int) -> collections.Counter[str]:
    """Requests per utterance that a batch with stages of no cost makes of its storage, cold, as S3 would count them.

    `list` counts folders that are listed: how many pages each has depends on the size of the store.
    """
    import fakestages

    from flows import cli
    from stages.core import artifacts
    from stages.core.storage import Claim, MemoryStorage

    counts: collections.Counter[str] = collections.Counter()

    class Counted(MemoryStorage):
        def present(self, names: Iterable[str]) -> set[str]:
            names = set(names)
            by_folder = collections.Counter(name.partition("/")[0] for name in names)
            counts["list"] += sum(n >= LISTED_FROM for n in by_folder.values())
            counts["present"] += sum(n for n in by_folder.values() if n < LISTED_FROM)
            return super().present(names)

        def read(self, name: str) -> bytes | None:
            counts["read"] += 1
            return super().read(name)

        def read_many(self, names: Iterable[str]) -> dict[str, bytes]:
            names = list(names)
            counts["read"] += len(names)
            return super().read_many(names)

        def write(self, files: Mapping[str, bytes]) -> None:
            counts["write"] += len(files)
            super().write(files)

        def claim(self, name: str) -> Claim | None:
            counts["claim"] += 1
            return super().claim(name)

    storage = Counted()
    sets = [f"shard={SHARD}", f"autoregressive.candidates={candidates}"]
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch), _patched(artifacts, storage):
        fakestages.install(Path(scratch))
        Path("list.txt").write_text("\n".join(f"This is line {n}." for n in range(lines)), encoding="utf-8")
        with contextlib.redirect_stdout(io.StringIO()):
            arguments = [word for key in sets for word in ("--set", key)]
            code = cli.main(["batch", "list.txt", "--out", "out", "--runner", "inline", *arguments])
    if code:
        raise SystemExit(f"the run with stages of no cost ended with {code}")
    return counts


@contextlib.contextmanager
def _patched(module: Any, storage: Any) -> Iterator[None]:
    real = module.open_storage
    module.open_storage = lambda place, options=None: storage
    try:
        yield
    finally:
        module.open_storage = real


def main() -> None:
    """Measures, extrapolates, prints."""
    options = argparse.ArgumentParser(description="Simulation of a very large corpus.")
    options.add_argument("--utterances", type=int, default=10_000_000)
    options.add_argument("--workers", type=int, default=64, help="CPU workers, for wall times")
    options.add_argument("--lines", type=int, default=100_000, help="of one run, after the split that is advised")
    given = options.parse_args()
    start, table = time.perf_counter(), Table()
    # what must run before the fakes take the stages' places comes first
    per_line = planning_cost(5000)
    report, sizes, output = real_run(6)
    n, small = given.utterances, report["items"]
    del sizes["Voice"]  # one for a whole corpus
    entries = sum(map(len, sizes.values())) / small
    store(table, n, sizes, small, output, entries)
    objects = n * entries
    listing(table, objects)
    s3(table, n, objects, report["stage_calls"]["autoregressive"] // small, given)
    prefect(table, n, report, small, given)
    planning(table, n, per_line, given)
    advise(table, n, given)
    print(json.dumps({"utterances": n, "seconds": round(time.perf_counter() - start, 1), **table.values}))


def store(table: Table, n: int, sizes: dict[str, list[int]], small: int, output: int, entries: float) -> None:
    table.head(f"Store and outputs ({small} lines of the starter models, preset fast, measured)")
    for kind, found in sorted(sizes.items()):
        table.row(f"entry_{kind.lower()}_bytes", sum(found) / len(found), "bytes", f"measured, {len(found)} entries")
    table.row("entries_per_utterance", entries, "", "measured")
    table.row("store_gb", n * sum(map(sum, sizes.values())) / small / 1e9, "GB", "extrapolated")
    table.row("outputs_gb", n * output / small / 1e9, "GB", "extrapolated")


def listing(table: Table, objects: float) -> None:
    table.head("Keys and folders")
    spread = key_spread(10_000_000)
    speed = listing_speed(200_000)
    table.row("keys_in_fullest_folder_over_mean", spread.max() / spread.mean(), "x", "measured, 10^7 keys")
    table.row("keys_in_emptiest_folder_over_mean", spread.min() / spread.mean(), "x", "measured, 10^7 keys")
    table.row("objects", objects, "", "extrapolated")
    table.row("objects_per_folder", objects / FOLDERS, "", "extrapolated")
    table.row("local_scandir_us_per_file", speed["names"] * 1e6, "us", "measured, a folder of 200,000")
    table.row("local_stats_us_per_file", speed["stats"] * 1e6, "us", "measured, the same")
    table.row("local_present_us_per_key", speed["look"] * 1e6, "us", "measured, the same")
    table.row("local_stats_minutes", speed["stats"] * objects / 60, "min", "extrapolated, warm disk cache")
    table.row("local_inodes", objects, "", "extrapolated (mkfs -N)")


def s3(table: Table, n: int, objects: float, candidates: int, given: argparse.Namespace) -> None:
    table.head("S3 (requests of a cold run, then prices)")
    lines = 4 * SHARD
    counts = requests_of_a_run(lines, candidates)
    gets, puts = (counts["present"] + counts["read"]) / lines, (counts["write"] + counts["claim"]) / lines
    pages = math.ceil(objects / FOLDERS / PAGE)
    table.row("get_per_utterance", gets, "requests", "measured, stages of no cost")
    table.row("of_these_to_look_what_is_there", counts["present"] / lines, "requests", "measured")
    table.row("put_per_utterance", puts, "requests", "measured")
    table.row("of_these_claims", counts["claim"] / lines, "requests", "measured")
    table.row("get", n * gets, "requests", "extrapolated")
    table.row("put", n * puts, "requests", "extrapolated")
    table.row("request_hours", n * (gets + puts) * REQUEST_SECONDS / AT_ONCE / 3600, "h of one process", "extrapolated")
    table.row("list_whole_store", FOLDERS * pages, "requests", "extrapolated")
    table.row("list_whole_store_minutes", FOLDERS * pages * LIST_SECONDS / AT_ONCE / 60, "min", "extrapolated")
    asked = LISTED_FROM * FOLDERS
    table.row("keys_asked_at_once_from_which_all_is_listed", asked, "keys", f"from the code: {LISTED_FROM} a folder")
    table.row("dollars_get", n * gets * DOLLARS_PER_1000_GET / 1000, "$", "extrapolated, assumed price")
    table.row("dollars_put", n * puts * DOLLARS_PER_1000_PUT / 1000, "$", "extrapolated, assumed price")
    table.row("dollars_list_once", FOLDERS * pages * DOLLARS_PER_1000_PUT / 1000, "$", "extrapolated, assumed price")
    table.row("dollars_a_month", table.values["store_gb"] * DOLLARS_PER_GB_MONTH, "$", "extrapolated, assumed price")
    runs = math.ceil(n / given.lines)
    if given.lines >= asked:  # a plan asks for a key a line
        again = runs * table.values["dollars_list_once"]
        table.row("dollars_of_plans_that_list_it", again, "$", f"extrapolated, one a run, {runs} runs")


def prefect(table: Table, n: int, report: dict[str, Any], small: int, given: argparse.Namespace) -> None:
    table.head(f"Work and Prefect (shards of {SHARD}, {given.workers} workers)")
    per_line = sum(report["stage_seconds"].values()) / small
    tasks = math.ceil(n / SHARD) * len(report["stage_calls"])
    low, high = SERVER_SECONDS_PER_TASK
    for stage, seconds in report["stage_seconds"].items():
        table.row(f"{stage}_seconds_per_utterance", seconds / small, "s", "measured, 1 thread")
    table.row("core_hours", n * per_line / 3600, "h", "extrapolated")
    table.row("dollars_compute", n * per_line / 3600 * DOLLARS_PER_CORE_HOUR, "$", "extrapolated, assumed price")
    table.row("wall_hours", n * per_line / 3600 / given.workers, "h", "extrapolated")
    table.row("task_runs", tasks, "", "extrapolated")
    table.row("server_hours_low", tasks * low / 3600, "h", "extrapolated, 50 ms a task run")
    table.row("server_hours_high", tasks * high / 3600, "h", "extrapolated, 85 ms a task run")
    keeps_up = SHARD / (len(report["stage_calls"]) * high) * per_line
    table.row("workers_that_one_server_keeps_up_with", keeps_up, "", "extrapolated, 85 ms a task run")


def planning(table: Table, n: int, per_line: tuple[float, float], given: argparse.Namespace) -> None:
    table.head(f"Planning (one process; a run of {given.lines:,} lines after the split)")
    seconds, memory = per_line
    table.row("plan_us_per_line", seconds * 1e6, "us", "measured, 5,000 lines")
    table.row("plan_bytes_per_line", memory, "bytes", "measured, 5,000 lines")
    table.row("plan_minutes_all", n * seconds / 60, "min", "extrapolated")
    table.row("plan_gb_all", n * memory / 1e9, "GB", "extrapolated")
    table.row("plan_seconds_a_run", given.lines * seconds, "s", "extrapolated")
    table.row("plan_gb_a_run", given.lines * memory / 1e9, "GB", "extrapolated")


def advise(table: Table, n: int, given: argparse.Namespace) -> None:
    values, runs = table.values, math.ceil(n / given.lines)
    served = values["workers_that_one_server_keeps_up_with"]
    head = f"Split the corpus into {runs} lists of {given.lines:,} lines"
    print(f"""
Advice
  {head}, an output folder each, one store for all:
  keys do not depend on the split, so lists may be cut anew at any time.
  In one run planning alone would take {values["plan_minutes_all"]:.0f} minutes and {values["plan_gb_all"]:.0f} GB.
  A list takes {values["plan_seconds_a_run"]:.0f} s and {values["plan_gb_a_run"]:.1f} GB of that,
  and {values["wall_hours"] / runs:.1f} h with {given.workers} workers.
  A Prefect server (SQLite) keeps up with about {served:.0f} such workers: use {math.ceil(given.workers / served)}.
  Faster workers (GPUs) reach that sooner; then make shards larger (--set shard=512).
  Keep the store at S3 only as long as reruns are wanted ({values["dollars_a_month"]:,.0f} $ a month):
  the sounds are in the output folders. On a local disk make the file system with room for
  {values["local_inodes"] / 1e6:.0f} million inodes, or use a store per list.
""")


if __name__ == "__main__":
    main()
