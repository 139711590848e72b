"""What a run leaves to look at: log.jsonl, and TensorBoard's scalars, pictures and sounds beside it."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)
LOG = "log.jsonl"
BOARD = "tensorboard"


@dataclass(frozen=True)
class Picture:
    """Values over two axes: a spectrogram (channels, frames), an alignment (phones, codes). Row 0 is drawn lowest."""

    values: np.ndarray  # (rows, columns) float


@dataclass(frozen=True)
class Sound:
    """Mono audio in [-1, 1]."""

    samples: np.ndarray  # (L,) float32
    sample_rate: int


Sample = Picture | Sound | float


class Record:
    """The log of one run's folder; a row is a kind (`train`, `valid`, `sign`), a step, seconds and what was measured.

    Raises:
        OSError: a row cannot be written.
    """

    def __init__(self, folder: Path, tensorboard: bool = False) -> None:
        self.folder, self._tensorboard = folder, tensorboard
        self._board: SummaryWriter | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Every legible row so far; a kill may have cut one."""
        try:
            lines = (self.folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                found.append(row)
        return found

    def write(self, kind: str, step: int, seconds: float, values: dict[str, float]) -> None:
        """Logs what was measured, in log.jsonl as one line and in TensorBoard as `kind/name`."""
        rounded = {k: round(v, 5) for k, v in values.items()}
        row = {"kind": kind, "step": step, "seconds": round(seconds, 1), **rounded}
        self._line(row)
        log.info("%s", row)
        for name, value in values.items() if self._tensorboard else ():
            self.board.add_scalar(f"{kind}/{name.removeprefix('_')}", value, step)

    def sign(self, step: int, seconds: float, name: str, sentence: str) -> None:
        """Logs a sign of trouble, and warns of it."""
        self._line({"kind": "sign", "step": step, "seconds": round(seconds, 1), "sign": name, "text": sentence})
        log.warning("step %d: %s", step, sentence)
        if self._tensorboard:
            self.board.add_text(f"sign/{name}", sentence, step)

    def samples(self, step: int, samples: dict[str, Sample]) -> None:
        """Shows pictures and sounds in TensorBoard; figures belong to `write`."""
        for name, sample in samples.items() if self._tensorboard else ():
            if isinstance(sample, Picture):
                self.board.add_image(f"sample/{name}", painted(sample), step)
            elif isinstance(sample, Sound):
                self.board.add_audio(f"sample/{name}", sample.samples[None], step, sample.sample_rate)

    def flush(self) -> None:
        """Writes what TensorBoard still holds back."""
        if self._board is not None:
            self._board.flush()

    @property
    def board(self) -> SummaryWriter:
        """TensorBoard's writer, opened when first used."""
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.folder / BOARD))
        return self._board

    def _line(self, row: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / LOG, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def painted(picture: Picture) -> np.ndarray:
    """(1, rows, columns) in [0, 1], row 0 at the bottom; a picture of one value is black."""
    values = np.asarray(picture.values, np.float32)[::-1]
    low, high = float(values.min()), float(values.max())
    return ((values - low) / (high - low) if high > low else np.zeros_like(values))[None]
