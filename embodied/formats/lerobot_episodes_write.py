"""LeRobot's tables of episodes and tasks, and the last observations that its rows leave out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embodied.formats.lerobot_features_write import to_arrow
from embodied.formats.lerobot_files_write import ParquetFiles
from embodied.types import Array

_BUFFERED = 100  # episodes that are written at once
_PLACE = ("meta/episodes/chunk_index", "meta/episodes/file_index")


class EpisodeTable:
    """One row per episode in ``meta/episodes``, and its last observation in a file of ours."""

    def __init__(self, folder: Path, final: Path, limit_mb: float) -> None:
        self._files, self._final = ParquetFiles(folder, limit_mb), final
        self._final_writer: Any = None
        self._rows: list[Mapping[str, Any]] = []
        self._observations: list[Mapping[str, Array]] = []

    def add(self, row: Mapping[str, Any], observation: Mapping[str, Array]) -> None:
        """Append an episode: its metadata, and its last observations [1, ...] by feature."""
        self._rows.append(row)
        self._observations.append(observation)
        if len(self._rows) >= _BUFFERED:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        table = pa.table({key: [row[key] for row in self._rows] for key in self._rows[0]})
        # Where a row lies is told in the row itself.
        schema = table.schema
        for name in _PLACE:
            schema = schema.append(pa.field(name, pa.int64()))
        place = self._files.place(schema, table.nbytes + 16 * len(table))
        for name, number in zip(_PLACE, place, strict=True):
            table = table.append_column(name, pa.array(np.full(len(table), number, np.int64)))
        self._files.append(table)
        self._write_observations(table.column("episode_index"))
        self._rows, self._observations = [], []

    def _write_observations(self, numbers: pa.ChunkedArray) -> None:
        columns = {"episode_index": numbers}
        for name in self._observations[0]:
            columns[name] = to_arrow(np.concatenate([item[name] for item in self._observations]))
        table = pa.table(columns)
        if self._final_writer is None:
            self._final.parent.mkdir(parents=True, exist_ok=True)
            self._final_writer = pq.ParquetWriter(self._final, table.schema)
        self._final_writer.write_table(table)

    def close(self) -> None:
        """Write what is left and finish the files."""
        self._flush()
        self._files.close()
        self._final_writer.close()


def write_tasks(path: Path, task: str) -> None:
    """Write the table of tasks as pandas would: the sentence is the index of its row.

    LeRobot reads it with pandas, which finds the index by the schema's metadata.
    """
    index = "__index_level_0__"

    def column(name: str | None, field: str, kind: str, numpy_kind: str) -> dict[str, Any]:
        return {
            "name": name,
            "field_name": field,
            "pandas_type": kind,
            "numpy_type": numpy_kind,
            "metadata": None,
        }

    pandas = {
        "index_columns": [index],
        "column_indexes": [column(None, "None", "unicode", "object")],
        "columns": [
            column("task_index", "task_index", "int64", "int64"),
            column(None, index, "unicode", "object"),
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    table = pa.table({"task_index": pa.array([0], pa.int64()), index: pa.array([task])})
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)
