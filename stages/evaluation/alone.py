"""Speed and memory of one route in a process of its own, with nothing cached: `python -m stages.evaluation.alone`.

What a process has loaded and computed before does not count, so that routes can be compared.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from stages.core.artifacts import MemoryStore
from stages.core.checkpoint import ROOT
from stages.core.config import ConfigError
from stages.core.pipeline import Pipeline
from stages.core.route import load_route, voice_rate
from stages.core.voices import load_voice
from stages.evaluation.speed import Alone, peak_memory

LONGEST = 3600.0
"""seconds after which a measurement is given up"""


def measure_alone(
    pipeline: str, preset: str, sets: Sequence[str], voice: str, texts: Sequence[str], seed: int
) -> Alone:
    """Has a new process speak `texts`; the first, which warms it up, is not timed when there are more.

    Raises:
        ConfigError: it failed; the message is its own.
    """
    request = {"pipeline": pipeline, "preset": preset, "sets": list(sets), "voice": voice, "texts": list(texts),
               "seed": seed}  # fmt: skip
    command = [sys.executable, "-m", "stages.evaluation.alone"]
    try:
        done = subprocess.run(
            command, input=json.dumps(request), capture_output=True, text=True, timeout=LONGEST, check=False,
            env=_environment(),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ConfigError(f"speed of {pipeline}/{preset}: took more than {LONGEST:g} s; give fewer sentences") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConfigError(f"speed of {pipeline}/{preset}: {reason}")
    return Alone(**json.loads(done.stdout.splitlines()[-1]))


def speak(request: dict[str, Any]) -> Alone:
    """Speaks the texts of a request in this process. Raises what that raises, and ConfigError for no sound."""
    route = load_route(request["pipeline"], request["preset"], request["sets"])
    voice = load_voice(request["voice"], voice_rate(route))
    before = time.perf_counter()
    store, texts = MemoryStore(), request["texts"]
    warm, rest = (texts[:1], texts[1:]) if len(texts) > 1 else ([], texts)
    pipeline = Pipeline(route)
    pipeline.compute([pipeline.document(t, voice, request["seed"]) for t in warm], store)
    load_seconds = pipeline.report.load_seconds if warm else 0.0
    warmed = time.perf_counter() - before
    timed = Pipeline(route)
    documents = [timed.document(t, voice, request["seed"]) for t in rest]
    start, cpu = time.perf_counter(), time.process_time()
    timed.compute(documents, store)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    sounds = [timed.result(d, store).audio for d in documents]
    spoken = sum(a.samples.size / a.sample_rate for a in sounds if a is not None)
    if any(a is None for a in sounds) or not spoken:
        raise ConfigError("a sentence got no sound, so its speed is not known")
    by_stage = {stage: round(s / spoken, 5) for stage, s in timed.report.stage_seconds.items()}
    if not warm:
        load_seconds = timed.report.load_seconds
        seconds -= load_seconds
    return Alone(
        seconds / spoken, cpu / spoken, by_stage, round(spoken, 3), len(rest), load_seconds, warmed, peak_memory()
    )


def _environment() -> dict[str, str]:
    import os

    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def main() -> int:
    """A request on stdin, one line of JSON on stdout."""
    try:
        print(json.dumps(speak(json.load(sys.stdin)).plain()))
    except (ValueError, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
