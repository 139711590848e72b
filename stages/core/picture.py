"""A mel spectrogram as a picture."""

from __future__ import annotations

import io

import numpy as np

from stages.core.types import Mel

VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Anchors of matplotlib's map of that name (CC0), whose lightness grows evenly; between them colours are mixed."""
SHADES = 64


def picture(mel: Mel, frames: int | None = None, wide: int = 2, tall: int = 3) -> bytes:
    """A mel as a PNG file: time to the right, frequency upwards, each bin `wide` by `tall` pixels.

    Args:
        frames: the first so many only; None = all.
    """
    from PIL import Image

    values = mel.frames[:frames]  # (T, M)
    low, high = float(values.min()), float(values.max())
    level = (values - low) / max(high - low, 1e-9) * (SHADES - 1)
    image = Image.fromarray(np.ascontiguousarray(level.round().astype(np.uint8).T[::-1]))
    steps = np.linspace(0, len(VIRIDIS) - 1, SHADES)
    anchors = np.asarray(VIRIDIS, np.float32)
    palette = np.stack([np.interp(steps, range(len(VIRIDIS)), anchors[:, c]) for c in range(3)], axis=-1)
    image.putpalette(palette.round().astype(np.uint8).ravel().tolist())
    file = io.BytesIO()
    image.resize((image.width * wide, image.height * tall), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()
