"""Reward labels: a Parquet file beside a dataset, never a change to the dataset itself.

``labels/<name>.parquet`` has one row per transition: ``row`` (its index), ``reward`` and
``term.<name>`` for every term. The schema metadata holds the reward's provenance and the digest of
the dataset it was made for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from embodied.dataset import Dataset
from embodied.errors import UserError
from embodied.files import atomic_path
from embodied.types import Reward

METADATA_KEY = b"embodied"
TERM = "term."


def label_path(dataset: Dataset, name: str) -> Path:
    """Return where the labels of that name lie; names are letters, digits, ``_`` and ``-``."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise UserError(f"label name {name!r}: use up to 64 letters, digits, '_' and '-'")
    return dataset.folder / "labels" / f"{name}.parquet"


def reward_folder(dataset: Dataset, name: str) -> Path:
    """Return where the code and provenance of the reward behind a label are kept."""
    return label_path(dataset, name).with_suffix(".reward")


def write_labels(
    dataset: Dataset,
    name: str,
    reward: Reward,
    progress: Callable[[int], object] = lambda count: None,
) -> Path:
    """Score every stored transition in one pass and write the label file atomically.

    Raises:
        UserError: The reward gives a wrong shape or a non-finite value; nothing is written then.
    """
    path = label_path(dataset, name)
    metadata = {
        "schema_version": 1,
        "dataset": dataset.digest,
        "transitions": len(dataset),
        "reward": reward.provenance(),
    }
    with atomic_path(path) as temporary:
        writer = None
        for chunk in dataset.chunks():
            table = _score_chunk(dataset, chunk, reward)
            if writer is None:
                schema = table.schema.with_metadata({METADATA_KEY: json.dumps(metadata)})
                writer = pq.ParquetWriter(temporary, schema)
            writer.write_table(table.cast(schema))
            progress(chunk.stop - chunk.start)
        assert writer is not None, "a dataset has at least one episode"
        writer.close()
    return path


def _score_chunk(dataset: Dataset, chunk: slice, reward: Reward) -> pa.Table:
    score = reward.score(dataset.transitions(chunk))
    columns = {"reward": score.total, **{f"{TERM}{k}": v for k, v in score.terms.items()}}
    arrays = {"row": pa.array(np.arange(chunk.start, chunk.stop))}
    for name, values in columns.items():
        values = np.asarray(values, np.float32)
        if values.shape != (chunk.stop - chunk.start,):
            raise UserError(
                f"the reward's {name} has shape {list(values.shape)} for "
                f"{chunk.stop - chunk.start} transitions; it must give one number for each"
            )
        if not np.isfinite(values).all():
            bad = chunk.start + int(np.argmin(np.isfinite(values)))
            raise UserError(f"the reward's {name} is NaN or infinite at transition {bad}; mend it")
        arrays[name] = pa.array(values)
    return pa.table(arrays)


def read_labels(dataset: Dataset, name: str) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """Return the label column [N] of that name and its metadata (``reward`` is the provenance).

    Raises:
        UserError: There is no such label, it is damaged, or it belongs to other data.
    """
    stored, metadata = _open(dataset, name)
    values, filled = np.empty(len(dataset), np.float32), 0
    for rows, reward in _parts(stored, label_path(dataset, name)):
        after = filled + len(rows)
        if after > len(values) or (rows != np.arange(filled, after)).any():
            raise UserError(f"labels {name!r} of {dataset.folder} are incomplete; label it again")
        values[filled:after], filled = reward, after
    if filled != len(values):
        raise UserError(f"labels {name!r} of {dataset.folder} are incomplete; label it again")
    if not np.isfinite(values).all():
        raise UserError(f"labels {name!r} of {dataset.folder} hold NaN; label it again")
    return values, metadata


def _parts(stored: pq.ParquetFile, path: Path) -> Iterator[tuple[Any, Any]]:
    """Yield row numbers and rewards part by part, so that memory holds no second copy of them."""
    keys = ("row", "reward")
    try:
        for batch in stored.iter_batches(columns=list(keys)):
            rows, reward = (batch.column(key).to_numpy(zero_copy_only=False) for key in keys)
            yield rows, reward
    except (pa.ArrowInvalid, OSError):
        raise UserError(f"{path} is damaged; label the dataset again") from None


def _open(dataset: Dataset, name: str) -> tuple[pq.ParquetFile, dict[str, Any]]:
    path = label_path(dataset, name)
    if not path.is_file():
        kept = (item.stem for item in path.parent.glob("*.parquet"))
        found = sorted(name for name in kept if not name.endswith(".pairs"))
        raise UserError(
            f"{dataset.folder} has no label {name!r} (it has: {', '.join(found) or 'none'}); "
            "make one with `embodied label`"
        )
    try:
        stored = pq.ParquetFile(path, memory_map=True)
        schema = stored.schema_arrow
        types = (schema.field("row").type, schema.field("reward").type)
        metadata = json.loads(schema.metadata[METADATA_KEY])
        sound = isinstance(metadata["reward"], dict) and types[0] == pa.int64()
        if not sound or not pa.types.is_floating(types[1]):
            raise ValueError
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError, OSError):
        raise UserError(f"{path} is damaged; label the dataset again") from None
    if metadata.get("dataset") != dataset.digest:
        raise UserError(f"{path} was made for other data than {dataset.folder}; label it again")
    return stored, metadata
