"""Looks over an episode's files before ``minari`` reads them whole, as it has no limits itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from embodied.errors import UserError
from embodied.formats import hdf5
from embodied.formats.source import EPISODE_BYTES, NUMBERS, check_size

DEPTH = 8  # of groups within groups


def checker(folder: Path, metadata: Mapping[str, Any]) -> Callable[[int], None]:
    """Return a function that looks over the episode of an index.

    Raises:
        UserError: (also from the function) A data format that is not read; links, arrays or files
            that Minari would follow or load without limits.
    """
    kind = metadata["data_format"]
    if kind == "hdf5":
        hdf5.check_declared(folder / "main_data.hdf5")
        return lambda index: _check_hdf5(folder / "main_data.hdf5", index)
    if kind in ("arrow", "parquet"):
        return lambda index: _check_arrow(folder / str(index), kind)
    raise UserError(f"{folder} has data_format {kind!r}; hdf5, arrow and parquet are read")


def _check_hdf5(path: Path, index: int) -> None:
    with hdf5.open_hdf5(path) as file:
        size = _size_of(hdf5.subgroup(file, f"episode_{index}"), DEPTH)
    check_size(path, f"episode_{index}", (size,), "u1")


def _size_of(group: Any, depth: int) -> int:
    import h5py

    path, total = group.file.filename, 0
    for name in hdf5.names(group):
        item = group[name]
        if isinstance(item, h5py.Group):
            if not depth:
                raise UserError(f"{path}: {item.name} lies too deep; fetch it again")
            total += _size_of(item, depth - 1)
        elif not isinstance(item, h5py.Dataset) or not _is_plain(item.dtype):
            raise UserError(f"{path}: {item.name} holds objects, which are not read")
        else:
            hdf5.check_storage(item)
            total += int(item.size) * item.dtype.itemsize
    return total


def _is_plain(dtype: Any) -> bool:
    """Return whether a type is numbers, text, or the bytes of a compressed image."""
    import h5py

    inner = h5py.check_vlen_dtype(dtype)
    return (
        dtype.kind in f"{NUMBERS}S"
        or h5py.check_string_dtype(dtype) is not None
        or (inner is not None and inner == "uint8")
    )


def _check_arrow(folder: Path, kind: str) -> None:
    import pyarrow as pa
    import pyarrow.dataset

    files = [item for item in folder.rglob("*") if item.is_file() and item.suffix != ".json"]
    if not files:
        raise UserError(f"{folder} is missing; fetch the dataset again")
    if any(not item.resolve().is_relative_to(folder.resolve()) for item in files):
        raise UserError(f"{folder} holds a link to another place; copy the data themselves")
    if sum(item.stat().st_size for item in files) > EPISODE_BYTES:
        raise UserError(f"{folder} holds more than an episode may take (1 GiB); split it")
    # Arrow believes what a file says of its own arrays until it is told to look.
    batches = 0
    for batch in pa.dataset.dataset(files, format=kind).to_batches():
        batch.validate(full=True)
        check_size(folder, "an episode", (batch.nbytes,), "u1")
        batches += 1
    if batches != 1:
        raise UserError(
            f"{folder} holds {batches} batches of rows, of which Minari reads the first; write it "
            "again with shorter episodes"
        )
