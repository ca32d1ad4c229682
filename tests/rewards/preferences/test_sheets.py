"""Frames as one image, and the image as a file."""

import io

import numpy as np
import pytest

from rewards.preferences.sheets import GAP, png, sheet
from rewards.preferences.source import Side


def clip(count):
    """A clip of as many frames, each filled with its number."""
    numbers = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return Side("a", np.broadcast_to(numbers, (count, 4, 6, 3)))


def test_a_png_holds_the_pixels():
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(png(image))) as read:
        assert (read.format, read.mode) == ("PNG", "RGB")
        np.testing.assert_array_equal(np.asarray(read), image)


def test_a_single_frame_is_shown_as_it_is():
    frames = np.random.default_rng(0).integers(0, 256, (1, 5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(sheet(Side("a", frames), 9), frames[0])


@pytest.mark.parametrize(
    ("total", "most", "shown", "columns"),
    [
        (12, 1, [11], 1),
        (12, 2, [0, 11], 2),
        (3, 9, [0, 1, 2], 2),
        (4, 4, [0, 1, 2, 3], 2),
        (10, 4, [0, 3, 6, 9], 2),
        (101, 5, [0, 25, 50, 75, 100], 3),
    ],
)
def test_a_sheet_shows_frames_in_the_order_of_time(total, most, shown, columns):
    image = sheet(clip(total), most)
    rows = -(-len(shown) // columns)
    assert image.shape == (rows * 4 + (rows - 1) * GAP, columns * 6 + (columns - 1) * GAP, 3)
    wanted = np.full_like(image, 255)
    for cell, time in enumerate(shown):
        top, left = cell // columns * (4 + GAP), cell % columns * (6 + GAP)
        wanted[top : top + 4, left : left + 6] = time
    np.testing.assert_array_equal(image, wanted)
