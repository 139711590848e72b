"""`caretta convert`: a sound file in another voice, in-process."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from pathlib import Path

from flows import outputs
from stages.core.route import load_route
from stages.vits import conversion


def main(arguments: Namespace) -> None:
    """Checks everything, converts, writes the sound and tells of it.

    Raises:
        OutputError, ConfigError, CheckpointError, VoiceError, AudioError: one sentence each.
    """
    start, output = time.perf_counter(), Path(arguments.output)
    outputs.check_sound_path(output)
    route = load_route(arguments.pipeline, arguments.preset, arguments.set)
    outputs.check_route(output.suffix, route)
    job = conversion.plan(route, arguments.voice, arguments.source)
    found = conversion.convert(job, arguments.input, arguments.seed, route.devices[0])
    outputs.write_sound(output, found.audio)
    seconds = round(time.perf_counter() - start, 3)
    report = found.plain() | {"seconds": seconds, "seed": arguments.seed, "output": arguments.output}
    if arguments.json:
        print(json.dumps(report))
    else:
        print(f"{output}: {report['audio_seconds']:.2f} s, {found.told()}, in {seconds:.1f} s")
