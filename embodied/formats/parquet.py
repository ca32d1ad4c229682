"""Parquet files of strangers: numbers, flat or in lists, become NumPy arrays, checked first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embodied.errors import UserError
from embodied.formats.source import EPISODE_BYTES, NUMBERS, check_size, told_as_damage
from embodied.types import Array

BATCH_ROWS = 1024  # rows that are decoded at a time
TEXT_LIMIT = 64 * 2**20  # bytes of a file's own schema


def batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Yield record batches of the named columns (all when None), each validated.

    Raises:
        UserError: The file is missing or damaged, lacks a column, or a part of it is too large.
    """
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UserError(f"{path} is missing; fetch the dataset again")
    with (
        told_as_damage(path, "a Parquet file"),
        pq.ParquetFile(
            path,
            thrift_string_size_limit=TEXT_LIMIT,
            thrift_container_size_limit=TEXT_LIMIT,
            pre_buffer=False,
        ) as file,
    ):
        found = file.schema_arrow.names
        for name in columns or ():
            if name not in found:
                raise UserError(f"{path} lacks the column {name}; fetch it again")
        for index in range(file.num_row_groups):
            if file.metadata.row_group(index).total_byte_size > EPISODE_BYTES:
                raise UserError(f"{path} has row groups above 1 GiB; write smaller ones")
        for batch in file.iter_batches(BATCH_ROWS, columns=None if columns is None else [*columns]):
            batch.validate(full=True)
            check_size(path, "a batch of rows", (batch.nbytes,), "u1")
            yield batch


def to_numpy(array: Any, path: Path, name: str) -> Array:
    """Return an Arrow array of numbers, or of equally long lists of them, as [rows, ...].

    Raises:
        UserError: It holds something else, gaps, or lists of different lengths.
    """
    import pyarrow as pa

    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    shape = [len(array)]
    while pa.types.is_nested(array.type):
        lists = pa.types.is_list(array.type) or pa.types.is_large_list(array.type)
        if array.null_count or not (lists or pa.types.is_fixed_size_list(array.type)):
            raise UserError(f"{path}: {name} holds {array.type} or gaps, which are not read")
        inner = array.flatten()
        count = len(array)
        size = len(inner) // count if count else 0
        if lists and count and (np.asarray(array.value_lengths()) != size).any():
            raise UserError(f"{path}: {name} has rows of different lengths; fetch it again")
        shape.append(size)
        array = inner
    if array.null_count:
        raise UserError(f"{path}: {name} has gaps; fetch it again")
    values = array.to_numpy(zero_copy_only=False)
    if values.dtype.kind not in NUMBERS:
        raise UserError(f"{path}: {name} holds {array.type}, not numbers; fetch it again")
    return np.asarray(values.reshape(shape))
