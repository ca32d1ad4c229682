"""Episode videos: H.264 in MP4, which every browser plays."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embodied.errors import UserError
from embodied.files import atomic_path

_BT709 = 1  # the code of the primaries, the transfer and the matrix alike (ITU-T H.273)
_LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG


def write_video(path: Path, frames: Iterable[npt.NDArray[np.uint8]], fps: float) -> None:
    """Write frames as H.264 MP4 (libx264, yuv420p, faststart), whole or not at all.

    yuv420p halves the colour planes, so an odd height or width is made even by repeating the last
    row or column. The bytes depend on the frames and the encoder's version alone.

    Args:
        path: Where the file goes, usually ``<name>.mp4``.
        frames: RGB images, uint8 [H, W, 3], all of one size; read once, never held together.
        fps: Frames per second, more than 0.

    Raises:
        UserError: The ``av`` package is missing.
        ValueError: There is no frame, a frame is not uint8 [H, W, 3] or sizes differ.
    """
    try:
        import av
    except ImportError:
        raise UserError("videos need PyAV: pip install 'embodied-stack[report]'") from None
    if not fps > 0:
        raise ValueError(f"fps must be more than 0, not {fps}")
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError("a video needs at least one frame")
    _check(first, first.shape)
    with atomic_path(path) as temporary:
        options = {"movflags": "+faststart"}
        with av.open(str(temporary), "w", format="mp4", options=options) as container:
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            _configure(stream, even(first).shape)
            for image in chain([first], iterator):
                _check(image, first.shape)
                frame = av.VideoFrame.from_ndarray(even(image), format="rgb24")
                # Browsers read untagged video as BT.601 or BT.709 by its size; say which it is.
                frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def even(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the image [H, W, 3] with its last row and column repeated where a side is odd."""
    rows, columns = image.shape[0] % 2, image.shape[1] % 2
    if rows or columns:
        image = np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="edge")
    return np.ascontiguousarray(image)


def _check(image: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"a frame must be uint8 [H, W, 3], not {image.dtype} {image.shape}")
    if image.shape != shape:
        raise ValueError(f"frames differ in size: {shape} then {image.shape}")


def _configure(stream: Any, shape: tuple[int, ...]) -> None:
    stream.height, stream.width = shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.options = {"crf": "23", "preset": "medium"}
    codec = stream.codec_context
    # The encoder's output depends on its number of threads: one makes it the same everywhere.
    codec.thread_count = 1
    codec.color_primaries = codec.color_trc = codec.colorspace = _BT709
    codec.color_range = _LIMITED_RANGE
