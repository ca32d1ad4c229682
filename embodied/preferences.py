"""Labelled pairs of segments: a Parquet file beside a dataset, never a change to the dataset.

``labels/<name>.pairs.parquet`` has one row per pair: ``first`` and ``second`` (the index of the
first transition of each segment), ``length`` (transitions of either segment) and ``preference``
(the probability that the first is the better one). The schema metadata holds the provenance of the
preferences and the digest of the dataset that they were given for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embodied.dataset import Dataset
from embodied.errors import UserError
from embodied.files import atomic_path

# Parquet is imported where it is read or written: learners take pairs without it.

SCHEMA_VERSION = 1
TYPES = {"first": "int64", "second": "int64", "length": "int64", "preference": "float32"}


@dataclass(frozen=True)
class PreferencePairs:
    """``P`` pairs of segments, each within one episode, and which of the two is preferred.

    Attributes:
        first: Index of the first segment's first transition, int64 [P].
        second: The same of the second segment, int64 [P].
        length: Transitions of either segment, int64 [P]; at least one.
        preference: Probability that the first is preferred, float32 [P]: 1 or 0 where the answer
            is sure, 0.5 for a tie.

    Raises:
        UserError: Columns of different lengths, types or shapes, no pairs at all, a preference
            outside [0, 1], or a segment that cannot be.
    """

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    preference: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        count = len(self.first) if np.ndim(self.first) else 0
        if not count:
            raise UserError("there are no pairs of segments; give at least one")
        for item in fields(self):
            column = getattr(self, item.name)
            if np.shape(column) != (count,) or column.dtype != TYPES[item.name]:
                raise UserError(
                    f"pairs: {item.name} is {np.asarray(column).dtype}{list(np.shape(column))}; "
                    f"it must be {TYPES[item.name]}[{count}]"
                )
        _refuse(
            ~((self.preference >= 0.0) & (self.preference <= 1.0)),  # so that NaN is refused too
            "has a preference that is not between 0 and 1",
        )
        _refuse(self.length < 1, "has segments of no transitions")
        _refuse((self.first < 0) | (self.second < 0), "has a segment that begins before the data")

    def __len__(self) -> int:
        return len(self.first)

    def check(self, episode_lengths: npt.NDArray[np.int64]) -> None:
        """Check the segments against the data that they point into.

        Args:
            episode_lengths: Transitions of every episode, int64 [episodes].

        Raises:
            UserError: A segment lies outside the data or goes over the end of its episode.
        """
        ends = np.cumsum(episode_lengths)
        for starts in (self.first, self.second):
            _refuse(starts >= ends[-1], f"has a segment outside the {ends[-1]} transitions")
            end = ends[np.searchsorted(ends, starts, side="right")]
            # Not ``starts + length``, which a damaged file could make overflow.
            _refuse(self.length > end - starts, "has a segment that crosses an episode's end")

    def preferred(self) -> npt.NDArray[np.int64]:
        """Return the indices of the transitions of all preferred segments, int64; ties have none.

        A segment that is preferred in several pairs comes once for each of them.
        """
        starts = np.where(self.preference > 0.5, self.first, self.second)
        decided = self.preference != 0.5
        starts, lengths = starts[decided], self.length[decided]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        index: npt.NDArray[np.int64] = np.repeat(starts, lengths) + within
        return index


def _refuse(bad: npt.NDArray[np.bool_], what: str) -> None:
    if bad.any():
        raise UserError(f"pair {int(np.argmax(bad))} {what}; mend or remove it")


def segment_name(dataset: Dataset, first: int, length: int) -> str:
    """Return the name of a segment, unique among datasets, by its first transition and length."""
    return f"{dataset.digest[:16]}:{first}:{length}"


def pairs_path(dataset: Dataset, name: str) -> Path:
    """Return where the pairs of that name lie; names are letters, digits, ``_`` and ``-``."""
    from embodied.labels import label_path

    return label_path(dataset, name).with_suffix(".pairs.parquet")


def write_pairs(
    dataset: Dataset, name: str, pairs: PreferencePairs, provenance: Mapping[str, Any]
) -> Path:
    """Write the file of labelled pairs atomically, in place of an earlier one of that name.

    Args:
        dataset: What the segments are of.
        name: Of the label.
        pairs: The segments and preferences.
        provenance: Where the preferences came from (JSON values): kind, instruction, model...

    Raises:
        UserError: The segments do not fit the dataset; nothing is written then.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from embodied.labels import METADATA_KEY

    path = pairs_path(dataset, name)
    pairs.check(dataset.episode_lengths)
    metadata = {
        "schema_version": SCHEMA_VERSION,
        "dataset": dataset.digest,
        "pairs": len(pairs),
        "preferences": dict(provenance),
    }
    table = pa.table({key: pa.array(getattr(pairs, key)) for key in TYPES})
    with atomic_path(path) as temporary:
        encoded = json.dumps(metadata, allow_nan=False)
        pq.write_table(table.replace_schema_metadata({METADATA_KEY: encoded}), temporary)
    return path


def read_pairs(dataset: Dataset, name: str) -> tuple[PreferencePairs, dict[str, Any]]:
    """Return the pairs of that name and their metadata (``preferences`` is the provenance).

    Raises:
        UserError: There are no such pairs, they are damaged, or they belong to other data.
    """
    path = pairs_path(dataset, name)
    if not path.is_file():
        suffix = ".pairs.parquet"
        found = sorted(item.name.removesuffix(suffix) for item in path.parent.glob(f"*{suffix}"))
        raise UserError(
            f"{dataset.folder} has no labelled pairs {name!r} (it has: "
            f"{', '.join(found) or 'none'}); have pairs of its segments labelled first"
        )
    columns, metadata = _read(path)
    if metadata.get("dataset") != dataset.digest:
        raise UserError(
            f"{path} was made for other data than {dataset.folder}; have its own pairs labelled"
        )
    if metadata["schema_version"] != SCHEMA_VERSION:
        raise UserError(
            f"{path} has version {metadata['schema_version']} of the format, this program reads "
            f"version {SCHEMA_VERSION}; have the pairs labelled again"
        )
    try:
        pairs = PreferencePairs(**columns)
        pairs.check(dataset.episode_lengths)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if len(pairs) != metadata["pairs"]:
        raise UserError(f"{path} is incomplete; have the pairs labelled again")
    return pairs, metadata


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns of a file and its metadata, the types of both checked."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from embodied.labels import METADATA_KEY

    try:
        table = pq.read_table(path)
        metadata = json.loads(table.schema.metadata[METADATA_KEY])
        told = isinstance(metadata["preferences"], dict)
        told = told and type(metadata["pairs"]) is type(metadata["schema_version"]) is int
        for key, kind in TYPES.items():
            column = table.column(key)
            if not told or column.null_count or column.type != pa.from_numpy_dtype(np.dtype(kind)):
                raise ValueError
        return {key: table.column(key).to_numpy() for key in TYPES}, metadata
    except (pa.ArrowException, KeyError, TypeError, ValueError, OSError):
        raise UserError(f"{path} is damaged; have the pairs labelled again") from None
