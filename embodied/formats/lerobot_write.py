"""Writes a LeRobot v3.0 dataset without LeRobot.

Source: LeRobot's dataset format v3.0 (lerobot 0.4). A row of LeRobot's is ``(o_t, a_t)`` with what
followed it (``next.reward``, ``next.done``...), so an episode of ``T`` transitions has ``T`` rows
and its last observation ``o_T`` has no place. It goes into a file that LeRobot does not look at,
``meta/embodied/final_observations.parquet``: ``episode_index`` and every numeric ``observation.*``
feature under its own name, one row per episode. ``meta/embodied/dataset.json`` holds our
description and the features' names. Of a video the last frame is left out, as it is of the rows.
``next.done`` marks true terminal states alone and ``next.truncated`` every other end.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embodied.dataset import Episode
from embodied.dataset_json import DatasetInfo
from embodied.errors import UserError
from embodied.files import write_json
from embodied.formats.common_write import (
    consistent,
    describe,
    ends_of,
    entries_of,
    new_path,
    rows_of,
)
from embodied.formats.lerobot_episodes_write import EpisodeTable, write_tasks
from embodied.formats.lerobot_features_write import (
    INDEX_FEATURES,
    VIDEO,
    Feature,
    Stats,
    features_of,
    flat_statistics,
    merge,
    nested_statistics,
    statistics,
    to_arrow,
    video_statistics,
)
from embodied.formats.lerobot_files_write import (
    CHUNK_FILES,
    DATA_MB,
    NAME,
    VIDEO_MB,
    ParquetFiles,
    VideoFiles,
    plain_rate,
)
from embodied.types import Array

VERSION = "v3.0"
SIDECAR = "meta/embodied"
FINAL = f"{SIDECAR}/final_observations.parquet"
DESCRIPTION = f"{SIDECAR}/dataset.json"
# LeRobot needs a rate; at 1 Hz the timestamps of data without one count steps.
UNKNOWN_RATE = Fraction(1)


def write(
    path: Path,
    info: DatasetInfo,
    episodes: Iterable[Episode],
    data_mb: float = DATA_MB,
    video_mb: float = VIDEO_MB,
) -> None:
    """Write episodes as they come; the folder appears whole or not at all.

    Args:
        path: The folder to make.
        info: What the dataset says of itself; ``origin["instruction"]``, or else the environment's
            name, becomes LeRobot's task.
        episodes: Read once, one after the other.
        data_mb: Where a Parquet file ends and the next begins, in MiB.
        video_mb: The same for a video.

    Raises:
        UserError: The folder exists, PyAV is missing for camera images, an observation, action
            or reward is not finite, or the episodes do not fit together.
    """
    first, checked = consistent(episodes)
    with new_path(path) as folder:
        writer = _Writer(folder, info, features_of(first), data_mb, video_mb)
        for episode in checked:
            writer.add(episode)
        writer.close()
        writer.finish(describe(info, first))


class _Writer:
    """Appends episodes to the files of one dataset."""

    def __init__(
        self,
        folder: Path,
        info: DatasetInfo,
        features: list[Feature],
        data_mb: float,
        video_mb: float,
    ) -> None:
        self._folder, self._features, self._limits = folder, features, (data_mb, video_mb)
        self._rate = Fraction(info.control_hz).limit_denominator(1001) or UNKNOWN_RATE
        self._task = str(info.origin.get("instruction") or info.environment)
        self._data = ParquetFiles(folder / "data", data_mb)
        self._table = EpisodeTable(folder / "meta" / "episodes", folder / FINAL, data_mb)
        self._videos = {
            item.name: VideoFiles(folder / "videos" / item.name, self._rate, video_mb)
            for item in features
            if item.dtype == VIDEO
        }
        self._stats: dict[str, Stats] = {}
        self._episodes = self._frames = 0

    def add(self, episode: Episode) -> None:
        """Append one episode to every file that it belongs to."""
        length, rows = len(episode.action), rows_of(episode)
        columns = entries_of(episode)
        columns |= dict(zip(("terminated", "truncated"), ends_of(episode), strict=True))
        columns |= {name: values[:-1] for name, values in rows.items()}
        numbers = {i.name: columns[i.column] for i in self._features if i.dtype != VIDEO}
        numbers |= self._index_values(length)
        stats = {name: self._statistics(name, values) for name, values in numbers.items()}
        places: dict[str, Any] = {}
        for item in self._features:
            if item.dtype == VIDEO:
                frames = columns[item.column]
                stats[item.name] = video_statistics(frames)
                place = self._videos[item.name].add(frames)
                places |= {f"videos/{item.name}/{key}": value for key, value in place.items()}
        table = pa.table({name: to_arrow(values) for name, values in numbers.items()})
        chunk, file = self._data.place(table.schema, table.nbytes)
        self._data.append(table)
        row = {
            "episode_index": self._episodes,
            "tasks": [self._task],
            "length": length,
            "data/chunk_index": chunk,
            "data/file_index": file,
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + length,
            **places,
            **flat_statistics(stats),
        }
        last = {i.name: rows[i.column][-1:] for i in self._features if i.column in rows}
        self._table.add(row, {name: last[name] for name in last if name not in self._videos})
        known = self._stats
        self._stats = {k: merge(known[k], v) if known else v for k, v in stats.items()}
        self._episodes, self._frames = self._episodes + 1, self._frames + length

    def _index_values(self, length: int) -> dict[str, Array]:
        frame = np.arange(length)
        values = {
            "timestamp": frame / float(self._rate),
            "frame_index": frame,
            "episode_index": np.full(length, self._episodes),
            "index": frame + self._frames,
            "task_index": np.zeros(length),
        }
        return {name: values[name].astype(dtype) for name, dtype in INDEX_FEATURES.items()}

    def _statistics(self, name: str, values: Array) -> Stats:
        finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if finite.all():
            return statistics(values)
        if name.startswith("observation.") or name in ("action", "next.reward"):
            raise UserError(
                f"{name} of episode {self._episodes} has NaN or infinity, of which LeRobot keeps "
                "no statistics; remove it with `embodied data filter` first"
            )
        # Any other column may have gaps; its statistics are those of the rest.
        return statistics(values[finite] if finite.any() else np.zeros_like(values[:1]))

    def close(self) -> None:
        """Finish every file that grows."""
        self._data.close()
        self._table.close()
        for files in self._videos.values():
            files.close()

    def finish(self, description: dict[str, Any]) -> None:
        """Write what is known when every episode is: info, statistics, task and our description."""
        data_mb, video_mb = self._limits
        features = {item.name: item.describe() for item in self._features}
        for name, files in self._videos.items():
            features[name]["info"] = files.info
        features |= {
            name: {"dtype": dtype, "shape": [1], "names": None}
            for name, dtype in INDEX_FEATURES.items()
        }
        info = {
            "codebase_version": VERSION,
            "robot_type": None,
            "total_episodes": self._episodes,
            "total_frames": self._frames,
            "total_tasks": 1,
            "chunks_size": CHUNK_FILES,
            "data_files_size_in_mb": data_mb,
            "video_files_size_in_mb": video_mb,
            "fps": plain_rate(self._rate),
            "splits": {"train": f"0:{self._episodes}"},
            "data_path": f"data/{NAME}.parquet",
            "video_path": f"videos/{{video_key}}/{NAME}.mp4" if self._videos else None,
            "features": features,
        }
        write_json(self._folder / "meta" / "info.json", info)
        write_json(self._folder / "meta" / "stats.json", nested_statistics(self._stats))
        names = {item.column: item.name for item in self._features}
        write_json(self._folder / DESCRIPTION, {**description, "features": names})
        write_tasks(self._folder / "meta" / "tasks.parquet", self._task)
