"""Sides of a comparison as images that a model is shown: grids of frames, encoded as PNG."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

from embodied.errors import UserError
from rewards.preferences.source import Images, Side

GAP = 2  # pixels between the frames of a sheet, white


def check_frames(side: Side) -> None:
    """Check that a side can be shown.

    Raises:
        UserError: It has no frames, or they are not uint8 [T, H, W, 3].
    """
    shape = side.frames.shape
    if side.frames.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise UserError(
            f"the frames of {side.name} are {side.frames.dtype}{list(shape)}; a model that looks "
            "needs uint8 [T, H, W, 3] with at least one: label a task whose states can be drawn"
        )


def sheet(side: Side, most: int) -> Images:
    """Return one image of a side: its frame, or a grid of frames in the order of time.

    Args:
        side: What is shown, frames uint8 [T, H, W, 3].
        most: Most frames of the grid: the first and the last, and others evenly between; 1 for the
            last alone.

    Returns:
        uint8 [H', W', 3]: near to a square of frames, filled row by row, white between and behind.

    Raises:
        UserError: As ``check_frames``.
    """
    check_frames(side)
    total, height, width = side.frames.shape[:3]
    count = min(most, total)
    times = np.linspace(0, total - 1, count).round().astype(int) if count > 1 else [total - 1]
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    size = (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3)
    image = np.full(size, 255, np.uint8)
    for cell, time in enumerate(times):
        top, left = cell // columns * (height + GAP), cell % columns * (width + GAP)
        image[top : top + height, left : left + width] = side.frames[time]
    return image


def png(image: Images) -> bytes:
    """Return an image, uint8 [H, W, 3], as a PNG file (ISO/IEC 15948): RGB, no row filters."""
    height, width = image.shape[:2]
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def image_part(image: Images) -> dict[str, str]:
    """Return the part of a message that shows an image, uint8 [H, W, 3]; see ``rewards.images``."""
    data = base64.b64encode(png(image)).decode("ascii")
    return {"type": "image", "media_type": "image/png", "data": data}
