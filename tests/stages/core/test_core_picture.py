"""A mel as a picture: its size, its direction, and the same bytes each time."""

import io

import numpy as np
from PIL import Image

from stages.core.picture import picture
from stages.core.types import Mel


def test_time_goes_right_and_frequency_up():
    frames = np.zeros((20, 8), np.float32)
    frames[15:, 6] = 1.0  # late and high
    image = Image.open(io.BytesIO(picture(Mel(frames, "x"), wide=2, tall=3)))
    assert image.size == (40, 24)
    light = np.asarray(image.convert("L"), np.float32)
    rows, columns = np.nonzero(light > light.mean() + light.std())
    assert columns.min() == 30 and rows.max() < 12 and light[0, 0] == light[-1, 0]
    assert Image.open(io.BytesIO(picture(Mel(frames, "x"), frames=5))).size == (10, 24)


def test_a_flat_mel_is_a_picture_too():
    flat = Mel(np.full((3, 4), -2.0, np.float32), "x")
    assert picture(flat) == picture(flat) and Image.open(io.BytesIO(picture(flat))).size == (6, 12)
