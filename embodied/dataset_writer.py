"""Writes a native dataset episode by episode; it appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from embodied.dataset import EXTRA, STATE, Episode
from embodied.dataset_json import COLUMN_NAME, SCHEMA_VERSION, DatasetInfo, info_to_json
from embodied.errors import UserError
from embodied.files import atomic_path, sha256_file, write_json
from embodied.types import Array


class _Column:
    """One ``.npy`` file that grows along its first axis."""

    def __init__(self, path: Path, per: str, like: Array) -> None:
        self.path, self.per = path, per
        self.shape, self.dtype, self.length = like.shape[1:], like.dtype, 0
        self.stream: BinaryIO = path.open("wb+")
        self._header()

    def _header(self) -> None:
        # NumPy pads its header so that the first axis can grow in place.
        self.stream.seek(0)
        np.lib.format.write_array_header_1_0(
            self.stream,
            {
                "descr": np.lib.format.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": (self.length, *self.shape),
            },
        )

    def append(self, values: Array) -> None:
        self.stream.write(np.ascontiguousarray(values, self.dtype).data)
        self.length += len(values)

    def close(self) -> None:
        self._header()
        self.stream.close()

    def describe(self) -> dict[str, Any]:
        return {
            "per": self.per,
            "dtype": self.dtype.str,
            "shape": list(self.shape),
            "sha256": sha256_file(self.path),
        }


class DatasetWriter:
    """Receives episodes; made by ``write_dataset``.

    Attributes:
        info: What ``dataset.json`` will say; may be replaced until the block ends, as the bounds
            and counts of a dataset that is read once are known at its end.
        videos: Further row columns whose frames stay in video files (see ``VideoColumn``).
    """

    def __init__(self, folder: Path, info: DatasetInfo, keep_dtypes: bool = False) -> None:
        self._folder, self.info, self._keep_dtypes = folder, info, keep_dtypes
        self.videos: dict[str, dict[str, Any]] = {}
        self._columns: dict[str, _Column] = {}
        self._lengths: list[int] = []
        folder.mkdir()

    def add(self, episode: Episode) -> None:
        """Append one episode.

        Observation, action and state fields become float32, but for images, which stay uint8.

        Raises:
            UserError: Its arrays do not fit together, or not to the episodes before it.
        """
        length = len(episode.action)
        if length == 0:
            raise UserError("an episode needs at least one transition; leave out empty ones")
        ends = np.zeros(length, bool)
        ends[-1:] = True
        rows = {"observation": self._kept(episode.observation, "f")}
        rows |= {f"{STATE}{k}": self._kept(v, "biuf") for k, v in episode.state.items()}
        entries = {
            "action": self._kept(episode.action, "f"),
            "terminated": ends & episode.terminated,
            "truncated": ends & (not episode.terminated),
        }
        entries |= {f"{EXTRA}{k}": np.asarray(v) for k, v in episode.columns.items()}
        for per, arrays, count in (("row", rows, length + 1), ("transition", entries, length)):
            for name, values in arrays.items():
                self._append(name, per, values, count)
        if set(self._columns) != rows.keys() | entries.keys():
            raise UserError("an episode has other columns than the episodes before it")
        self._lengths.append(length)

    def _kept(self, values: Array, kinds: str) -> Array:
        array = np.asarray(values)
        kept = array.dtype.kind in kinds if self._keep_dtypes else array.dtype == np.uint8
        return array if kept and array.dtype.kind in kinds else array.astype(np.float32)

    def _append(self, name: str, per: str, values: Array, count: int) -> None:
        if values.dtype.kind not in "biuf" or not COLUMN_NAME.fullmatch(name):
            raise UserError(
                f"column {name!r} of {values.dtype} cannot be kept: columns hold numbers or truth "
                "values, and their names letters, digits, '_', '-' and '.'"
            )
        if name not in self._columns and not self._lengths and values.ndim > 0:
            self._columns[name] = _Column(self._folder / f"{name}.npy", per, values)
        column = self._columns.get(name)
        if (
            column is None
            or values.shape != (count, *column.shape)
            or not np.can_cast(values.dtype, column.dtype)
        ):
            raise UserError(
                f"column {name}: an episode of {count} entries cannot take {values.dtype} "
                f"{list(values.shape)}"
            )
        column.append(values)

    def close(self) -> None:
        """Finish the column files and write ``dataset.json``."""
        if not self._lengths:
            raise UserError("a dataset needs at least one episode; nothing was written")
        for column in self._columns.values():
            column.close()
        write_json(
            self._folder / "dataset.json",
            {
                "schema_version": SCHEMA_VERSION,
                "info": info_to_json(self.info),
                "episode_lengths": self._lengths,
                "columns": {name: item.describe() for name, item in self._columns.items()}
                | self.videos,
            },
        )


@contextmanager
def write_dataset(
    folder: Path, info: DatasetInfo, *, keep_dtypes: bool = False
) -> Iterator[DatasetWriter]:
    """Yield a writer; the folder appears when the block ends without an error.

    With ``keep_dtypes`` floating-point numbers keep their width, and state fields of whole numbers
    or truth values theirs, so that a copy of a dataset is exact; see ``DatasetWriter.add``.

    Raises:
        UserError: The folder exists already, the disk is full, or no episode was added.
    """
    folder = Path(folder)
    if folder.exists():
        raise UserError(f"{folder} exists already; name another folder or remove it")
    with atomic_path(folder) as temporary:
        writer = DatasetWriter(temporary, info, keep_dtypes)
        yield writer
        writer.close()
