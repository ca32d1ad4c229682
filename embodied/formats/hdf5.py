"""HDF5 files of strangers: plain numbers in the file itself are read, all else is refused.

Refused are links (they lead to other places, or in circles), virtual and external datasets (they
read other files), filters that would be loaded as a plug-in, and arrays that declare more than an
episode may take. Nothing in an HDF5 file is unpickled: ``h5py`` never does, and objects are
refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from embodied.errors import UserError
from embodied.formats.source import NUMBERS, check_size, told_as_damage
from embodied.types import Array

CACHE_BYTES = 64 * 2**20  # of decompressed chunks, so that short episodes share one
CHUNK_BYTES = 256 * 2**20  # a chunk is decompressed whole
# The most that deflate stores in one byte is 1032 (zlib, "Technical Details"), rounded up.
INFLATION = 1040
# deflate, shuffle, fletcher32, szip, nbit, scaleoffset and lzf, which come with h5py.
FILTERS = {1, 2, 3, 4, 5, 6, 32000}


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Yield the open file; what goes wrong in the block is told as damage of the file.

    Raises:
        UserError: The file is damaged, or ``h5py`` is missing.
    """
    try:
        import h5py
    except ImportError:
        raise UserError("HDF5 files need h5py: pip install 'embodied-stack[data]'") from None
    with (
        told_as_damage(path, "an HDF5 file of this kind"),
        h5py.File(path, "r", rdcc_nbytes=CACHE_BYTES) as file,
    ):
        yield file


def check_declared(path: Path) -> None:
    """Refuse a file whose arrays declare more bytes than it can hold when compressed.

    HDF5 makes up what was never stored, so a small file may declare any size.

    Raises:
        UserError: It does, or it is damaged.
    """
    with open_hdf5(path) as file:
        declared, stored = _declared(file, {}), path.stat().st_size
    if declared > INFLATION * stored:
        raise UserError(
            f"{path} declares {declared / 2**30:.3g} GiB of arrays and stores {stored} bytes, so "
            "most of it was never written; fetch it again"
        )


def _declared(group: Any, known: dict[int, int]) -> int:
    """Return the bytes that all arrays in a group declare, as often as they are named there."""
    import h5py

    address = h5py.h5o.get_info(group.id).addr
    if address not in known:
        known[address] = 0  # a group within itself adds nothing
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue  # refused where it would be read
            item = group[name]
            if isinstance(item, h5py.Group):
                known[address] += _declared(item, known)
            elif isinstance(item, h5py.Dataset):
                known[address] += int(item.size or 0) * item.dtype.itemsize
    return known[address]


def names(group: Any) -> list[str]:
    """Return the names in a group; links that lead elsewhere are refused."""
    import h5py

    found = sorted(group)
    for name in found:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise UserError(
                f"{group.file.filename}: {group.name}/{name} is a link to another place, which is "
                "not followed; store the data itself"
            )
    return found


def subgroup(group: Any, name: str) -> Any:
    """Return a group within a group.

    Raises:
        UserError: There is none of that name.
    """
    import h5py

    if name not in names(group) or not isinstance(group[name], h5py.Group):
        raise UserError(f"{group.file.filename} has no group {group.name}/{name}; fetch it again")
    return group[name]


def is_numeric(item: Any) -> bool:
    """Return whether an item is a dataset of plain numbers or truth values."""
    import h5py

    return isinstance(item, h5py.Dataset) and item.dtype.kind in NUMBERS


def numeric(group: Any, name: str) -> Any:
    """Return a dataset of numbers with at least one axis, checked but not read.

    Raises:
        UserError: It is missing, holds objects or text, or its data lie elsewhere.
    """
    path = group.file.filename
    if name not in names(group):
        raise UserError(f"{path} lacks {group.name}/{name}; fetch it again")
    item = group[name]
    if not is_numeric(item) or not item.shape:
        raise UserError(
            f"{path}: {group.name}/{name} holds no array of numbers, so it is not read "
            f"({getattr(item, 'dtype', 'a group')})"
        )
    check_storage(item)
    return item


def check_storage(item: Any) -> None:
    """Refuse a dataset whose bytes lie in another file or need a plug-in to be read."""
    path, plist = item.file.filename, item.id.get_create_plist()
    filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
    if item.is_virtual or item.external or not filters <= FILTERS:
        raise UserError(
            f"{path}: the data of {item.name} lie in another file or need a plug-in; store them in "
            "this file"
        )
    if item.chunks and int(np.prod(item.chunks, dtype=object)) * item.dtype.itemsize > CHUNK_BYTES:
        raise UserError(f"{path}: {item.name} has chunks above 256 MiB; store smaller ones")


def read(item: Any, start: int = 0, stop: int | None = None) -> Array:
    """Return rows of a checked dataset; more than an episode may take is refused."""
    stop = item.shape[0] if stop is None else stop
    check_size(Path(item.file.filename), item.name, (stop - start, *item.shape[1:]), item.dtype)
    return np.asarray(item[start:stop])
