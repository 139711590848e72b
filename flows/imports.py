"""`caretta import-vits`: a checkpoint of another program as one of this project."""

from __future__ import annotations

import sys
from argparse import Namespace

from flows.commands import ALL_OK


def vits(arguments: Namespace) -> int:
    """Converts a folder in the layout of transformers' VitsModel and says how to speak with it.

    Raises:
        CheckpointError: what is missing, damaged or not built here, or no room or right to write.
    """
    from stages.vits.huggingface import convert

    found = convert(arguments.folder, arguments.out, arguments.licence)
    config, reads, defaults = found.config, found.reads, found.defaults
    language = f", language {reads.language!r}" if reads.language else ""
    speakers = f"{len(config.speakers)} speakers" if config.speakers else "1 speaker"
    print(f"{arguments.out}: {found.parameters / 1e6:.1f} M weights, {speakers}, "
          f"{config.audio.sample_rate} Hz, reads {reads.unit}{language}, licence {found.licence}")  # fmt: skip
    controls = [f"--set vits.{name}={value:g}" for name, value in defaults.items()]
    speaker = [f"--set vits.speaker={config.speakers[0]}"] if config.speakers else []
    print(" ".join(['caretta say "…" --pipeline vits', f"--set vits.checkpoint={arguments.out}", *speaker, *controls]))
    if reads.unit != "characters":
        print("caretta: it reads phonemes of espeak, which no stage writes: `say` will refuse it", file=sys.stderr)
    return ALL_OK
