"""What can be played and looked at in a report: every clip as a small sound file and a mel spectrogram."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core.audio import AudioSpec, mel_spectrogram
from stages.core.config import ConfigError
from stages.core.picture import picture
from stages.core.types import Audio, Mel
from stages.evaluation.measures import at_rate
from stages.evaluation.scores import Row

FOLDER = "sounds"
_OURS = re.compile(r"\d+-\d+\.(ogg|png)")


@dataclass(frozen=True)
class Player:
    """Addresses of one clip, for `src`."""

    sound: str
    mel: str


def players(rows: Sequence[Row], out: Path, how: str) -> dict[tuple[int, int], Player]:
    """A player for every clip with sound, by (row, sentence).

    Files are named by number, so no name of a test set becomes a path. Those of an earlier report are removed.

    Args:
        how: `files` below OUT/sounds, `embed` in the page itself, or `none`.

    Raises:
        ConfigError: a file that cannot be written.
    """
    found: dict[tuple[int, int], Player] = {}
    folder, written = out / FOLDER, set()
    for row, item, audio in _sounds(rows) if how != "none" else ():
        name = f"{row + 1:02d}-{item + 1:04d}"
        sound, mel = ogg(audio), spectrogram(audio)
        if how == "embed":
            found[row, item] = Player(_data("audio/ogg", sound), _data("image/png", mel))
            continue
        for ending, data in (("ogg", sound), ("png", mel)):
            _write(folder / f"{name}.{ending}", data)
            written.add(f"{name}.{ending}")
        found[row, item] = Player(f"{FOLDER}/{name}.ogg", f"{FOLDER}/{name}.png")
    for path in folder.iterdir() if folder.is_dir() else ():
        if _OURS.fullmatch(path.name) and path.name not in written:
            path.unlink(missing_ok=True)
    return found


def _sounds(rows: Sequence[Row]) -> list[tuple[int, int, Audio]]:
    return [(r, i, c.audio) for r, row in enumerate(rows) for i, c in enumerate(row.clips) if c.audio is not None]


def ogg(audio: Audio) -> bytes:
    """Ogg Vorbis: about a tenth of a WAV file."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.clip(audio.samples, -1.0, 1.0), audio.sample_rate, format="OGG", subtype="VORBIS")
    return file.getvalue()


def spectrogram(audio: Audio) -> bytes:
    """The mel of a sound as a PNG file, a pixel a bin."""
    import torch

    spec = AudioSpec()
    samples = np.array(at_rate(audio, spec.sample_rate).samples, np.float32)
    with torch.inference_mode():
        frames = mel_spectrogram(torch.from_numpy(samples), spec).numpy().T
    return picture(Mel(np.ascontiguousarray(frames), spec.digest), wide=1, tall=1)


def _data(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); name a place with room and rights") from None
