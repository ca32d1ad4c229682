"""Frames that stay in their video files and are decoded when they are read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embodied.errors import UserError
from embodied.formats.source import told_as_damage

KEPT_FRAMES = 8  # decoded frames that are kept, since s_{t+1} of one step is s_t of the next
FORWARD_FRAMES = 32  # up to here decoding on is cheaper than seeking
MAX_SIDE = 16_384  # pixels


class VideoColumn:
    """A row column ``uint8 [R, H, W, 3]`` that behaves like an array along its first axis.

    Args:
        name: The column's stored name, for messages.
        shape: Height, width and 3.
        files: The video file of every episode.
        starts: Seconds in the file at which every episode begins.
        frames: Recorded frames of every episode; rows beyond repeat the last of them.
        rows: Rows of every episode.
        fps: Frames per second.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        name: str,
        shape: tuple[int, int, int],
        files: list[Path],
        starts: npt.NDArray[np.float64],
        frames: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        fps: float,
    ) -> None:
        self._name, self._files, self._fps = name, files, fps
        self._starts, self._frames = starts, frames
        self._ends = np.cumsum(rows)
        self.shape = (int(self._ends[-1]), *shape)
        self._kept: OrderedDict[tuple[Path, int], npt.NDArray[np.uint8]] = OrderedDict()
        self._reader: _Reader | None = None

    @property
    def ndim(self) -> int:
        """Number of axes, the rows included."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> npt.NDArray[np.uint8]:
        rows = np.arange(len(self))[index]
        unique, back = np.unique(rows, return_inverse=True)
        found = np.empty((len(unique), *self.shape[1:]), np.uint8)
        for position, row in enumerate(unique.tolist()):
            found[position] = self._frame(row)
        return found[back].reshape(*np.shape(rows), *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self[:].astype(dtype or self.dtype, copy=False)

    def _frame(self, row: int) -> npt.NDArray[np.uint8]:
        episode = int(np.searchsorted(self._ends, row, side="right"))
        first = int(self._ends[episode - 1]) if episode else 0
        inside = min(row - first, int(self._frames[episode]) - 1)
        path = self._files[episode]
        number = round(float(self._starts[episode]) * self._fps) + inside
        if (path, number) not in self._kept:
            if self._reader is None or self._reader.path != path:
                self._close()
                self._reader = _Reader(path, self._fps, self.shape[1:])
            self._kept[path, number] = self._reader.frame(number)
            if len(self._kept) > KEPT_FRAMES:
                self._kept.popitem(last=False)
        return self._kept[path, number]

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


class _Reader:
    """One open video file, decoded forwards where possible."""

    def __init__(self, path: Path, fps: float, shape: tuple[int, ...]) -> None:
        try:
            import av
        except ImportError:
            raise UserError("videos need PyAV: pip install 'embodied-stack[data]'") from None
        self.path, self._fps, self._shape = path, fps, shape
        self._next = -1  # number of the frame that the decoder gives next; -1 when unknown
        self._decoded: Iterator[Any] = iter(())
        with told_as_damage(path, "an MP4 video"):
            # Told the format, since a text file could be a playlist that names other files.
            self._container = av.open(str(path), format="mp4")
            self._stream = self._container.streams.video[0]
            size = (self._stream.codec_context.height, self._stream.codec_context.width)
            self._time_base = self._stream.time_base or 1
            if size != shape[:2]:
                raise UserError(f"{path} has frames of {size}, its dataset says {shape[:2]}")

    def frame(self, number: int) -> npt.NDArray[np.uint8]:
        """Return the frame that is shown at ``number / fps`` seconds, uint8 [H, W, 3]."""
        with told_as_damage(self.path, "an MP4 video"):
            if not 0 <= number - self._next <= FORWARD_FRAMES or self._next < 0:
                second = number / self._fps
                self._container.seek(
                    int(second / self._time_base), stream=self._stream, backward=True
                )
                self._decoded = self._container.decode(self._stream)
            for frame in self._decoded:
                shown = round(frame.time * self._fps)
                if shown < number:
                    continue
                self._next = number + 1
                if shown > number:
                    break
                image: npt.NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
                if image.shape != self._shape:
                    raise UserError(f"{self.path} changes its size at frame {number}")
                return image
        self._next = -1
        raise UserError(
            f"{self.path} has no frame at {number / self._fps:.3f} s, which its dataset needs; "
            "fetch it again"
        )

    def close(self) -> None:
        """Close the file."""
        self._container.close()


def open_video_column(
    name: str, entry: Mapping[str, Any], lengths: npt.NDArray[np.int64], folder: Path
) -> VideoColumn:
    """Return the column that an entry of ``dataset.json`` describes.

    ``entry["video"]`` has ``root`` (a folder, seen from the dataset's), ``fps`` and ``episodes``:
    for every episode its file under the root, the second at which it begins there, and its number
    of frames.

    Raises:
        UserError: The entry is malformed, or a file lies outside of its root.
    """
    try:
        video, (height, width, channels) = entry["video"], entry["shape"]
        root, fps = (folder / str(video["root"])).resolve(), float(video["fps"])
        episodes = [(str(a), float(b), int(c)) for a, b, c in video["episodes"]]
        whole = all(type(side) is int and 0 < side <= MAX_SIDE for side in (height, width))
        starts, frames = np.array([b for _, b, _ in episodes]), [c for *_, c in episodes]
        sound = whole and channels == 3 and entry["per"] == "row" and 0 < fps < 1e6
        sound = sound and len(episodes) == len(lengths) and min(frames) > 0
        if not sound or not np.isfinite(starts).all() or (starts < 0).any():
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UserError(
            f"dataset.json is malformed (column {name!r}); collect the dataset again"
        ) from None
    return VideoColumn(
        name,
        (height, width, 3),
        [inside(root, item) for item, _, _ in episodes],
        starts,
        np.array(frames, np.int64),
        lengths + 1,
        fps,
    )


def inside(root: Path, name: str) -> Path:
    """Return a file's path under ``root``, which must be resolved.

    Raises:
        UserError: The name or a link leads out of the root, or it is no name of a file.
    """
    try:
        path = (root / name).resolve()
        path.exists()  # raises what resolve() passes over, as for a name that is too long
    except (OSError, ValueError, RuntimeError):
        raise UserError(f"{name[:80]!r} names no file in {root}; fetch the dataset again") from None
    if not path.is_relative_to(root):
        raise UserError(
            f"{name!r} leads out of {root}; copy the dataset with its links followed (cp -rL)"
        )
    return path
