"""LeRobot's numbered files: a series of Parquet or MP4 files, each kept below a size.

Source: LeRobot's dataset format v3.0. Episodes follow one another in ``chunk-000/file-000``, and a
new file begins before one would pass its limit; a chunk is a folder of at most 1000 files.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from embodied.errors import UserError
from embodied.video import even

CHUNK_FILES = 1000
DATA_MB, VIDEO_MB = 100, 200  # LeRobot's limits
MEGABYTE = 1024**2
NAME = "chunk-{chunk_index:03d}/file-{file_index:03d}"
# Key frames at every second frame let a reader reach any frame quickly.
_QUALITY = {"g": "2", "crf": "30"}
# One thread makes the encoder's output the same everywhere.
_ENCODERS = {
    "libsvtav1": {**_QUALITY, "preset": "12", "svtav1-params": "lp=1"},
    "libx264": {**_QUALITY, "preset": "medium", "threads": "1"},
}


class Series:
    """The place of the current file: its chunk and its number within it."""

    def __init__(self, folder: Path, suffix: str, limit_mb: float) -> None:
        self._folder, self._suffix, self._limit = folder, suffix, limit_mb * MEGABYTE
        self.chunk, self.file, self.begun = 0, 0, False

    def full(self, written: int, coming: float) -> bool:
        """Return whether ``coming`` bytes are too many for a file that holds ``written``."""
        return written > 0 and written + coming > self._limit

    def begin(self) -> Path:
        """Go to the next file and return its path."""
        if self.begun:
            number = self.chunk * CHUNK_FILES + self.file + 1
            self.chunk, self.file = divmod(number, CHUNK_FILES)
        self.begun = True
        name = NAME.format(chunk_index=self.chunk, file_index=self.file)
        path = self._folder / f"{name}.{self._suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class ParquetFiles:
    """Tables of one schema, appended to a series of files."""

    def __init__(self, folder: Path, limit_mb: float) -> None:
        self._series = Series(folder, "parquet", limit_mb)
        self._stream: Any = None
        self._writer: Any = None

    def place(self, schema: pa.Schema, size: int) -> tuple[int, int]:
        """Return chunk and file where a table of at most ``size`` bytes is appended next."""
        if self._writer is None or self._series.full(self._stream.tell(), size):
            self.close()
            self._stream = pa.OSFile(str(self._series.begin()), "wb")
            self._writer = pq.ParquetWriter(self._stream, schema)
        return self._series.chunk, self._series.file

    def append(self, table: pa.Table) -> None:
        """Append a table to the file that ``place`` told."""
        self._writer.write_table(table)

    def close(self) -> None:
        """Finish the current file."""
        if self._writer is not None:
            self._writer.close()
            self._stream.close()


class VideoFiles:
    """The frames of one camera, appended episode by episode to a series of MP4 files.

    AV1 where the installed FFmpeg can encode it, as LeRobot does, and H.264 elsewhere.
    """

    def __init__(self, folder: Path, rate: Fraction, limit_mb: float) -> None:
        self._series, self._rate = Series(folder, "mp4", limit_mb), rate
        self._container: Any = None
        self._stream: Any = None
        self._bytes = self._packets = self._frames = 0
        self.info: dict[str, Any] = {}  # for the feature's entry of info.json

    def add(self, frames: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """Encode an episode's frames [T, H, W, 3] and return where they lie."""
        # The encoder keeps frames back, so what was written so far tells the size of one alone.
        each = self._bytes / max(self._packets, 1)
        if self._container is None or self._series.full(
            round(each * self._frames), each * len(frames)
        ):
            self.close()
            self._open(even(frames[0]).shape)
        begin = self._frames
        for image in frames:
            self._encode(even(image))
        return {
            "chunk_index": self._series.chunk,
            "file_index": self._series.file,
            "from_timestamp": float(begin / self._rate),
            "to_timestamp": float(self._frames / self._rate),
        }

    def _open(self, shape: tuple[int, ...]) -> None:
        try:
            import av
        except ImportError:
            raise UserError("videos need PyAV: pip install 'embodied-stack[data]'") from None
        # SVT-AV1 otherwise prints its settings for every file.
        os.environ.setdefault("SVT_LOG", "1")
        name = next(item for item in _ENCODERS if item in av.codecs_available)
        self._container = av.open(str(self._series.begin()), "w", format="mp4")
        self._stream = self._container.add_stream(name, rate=self._rate)
        self._stream.height, self._stream.width = shape[:2]
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = _ENCODERS[name]
        self._bytes = self._packets = self._frames = 0
        self.info = {
            "video.height": shape[0],
            "video.width": shape[1],
            "video.codec": self._stream.codec.canonical_name,
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": plain_rate(self._rate),
            "video.channels": 3,
            "has_audio": False,
        }

    def _encode(self, image: npt.NDArray[np.uint8] | None) -> None:
        import av

        frame = None if image is None else av.VideoFrame.from_ndarray(image, format="rgb24")
        for packet in self._stream.encode(frame):
            self._bytes, self._packets = self._bytes + packet.size, self._packets + 1
            self._container.mux(packet)
        self._frames += frame is not None

    def close(self) -> None:
        """Finish the current file."""
        if self._container is not None:
            self._encode(None)
            self._container.close()


def plain_rate(rate: Fraction) -> int | float:
    """Return frames per second as LeRobot keeps them: whole where they are."""
    return rate.numerator if rate.denominator == 1 else float(rate)
