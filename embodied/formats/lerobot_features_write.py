"""LeRobot's features: which of our columns becomes which, its values as Arrow, its statistics.

Source: LeRobot's dataset format v3.0 (``meta/info.json`` and ``meta/stats.json`` of lerobot 0.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embodied.dataset import EXTRA, STATE, Episode
from embodied.formats.common_write import ends_of, entries_of, rows_of
from embodied.transforms import REWARD
from embodied.types import Array

# LeRobot's own features, the same in every dataset.
INDEX_FEATURES = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
KNOWN = {
    "observation": "observation.state",
    "action": "action",
    f"{EXTRA}{REWARD}": "next.reward",
    f"{EXTRA}success": "next.success",
    "terminated": "next.done",
    "truncated": "next.truncated",
}
VIDEO = "video"
QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
Stats = dict[str, npt.NDArray[np.float64]]  # by statistic: min, max, mean, std, count, q01...
SAMPLED_FRAMES, SAMPLED_SIDE = 100, 150  # of an episode's video, for its statistics


@dataclass(frozen=True)
class Feature:
    """One feature: ``name`` is LeRobot's, ``column`` is ours."""

    name: str
    column: str
    dtype: str  # NumPy's name, or "video"
    shape: tuple[int, ...]  # (1,) for a number

    def describe(self) -> dict[str, Any]:
        """Return the entry of ``info.json``."""
        names = ["height", "width", "channels"] if self.dtype == VIDEO else None
        return {"dtype": self.dtype, "shape": list(self.shape), "names": names}


def is_camera(values: Array) -> bool:
    """Return whether rows [T+1, H, W, 3] of bytes are colour images."""
    return bool(values.dtype == np.uint8 and values.ndim == 4 and values.shape[3] == 3)


def features_of(episode: Episode) -> list[Feature]:
    """Return a feature for every column of a dataset whose episodes are like this one."""
    columns = rows_of(episode) | entries_of(episode)
    columns |= dict(zip(("terminated", "truncated"), ends_of(episode), strict=True))
    taken = {*INDEX_FEATURES, *KNOWN.values(), "task", "size"}
    features = []
    for column, values in columns.items():
        name, dtype = KNOWN.get(column), str(values.dtype)
        shape: tuple[int, ...] = values.shape[1:] or (1,)
        if column.startswith(STATE) and is_camera(values):
            name, dtype = f"observation.images.{column.removeprefix(STATE)}", VIDEO
            # yuv420p halves the colour planes, so the video's sides are even.
            shape = (shape[0] + shape[0] % 2, shape[1] + shape[1] % 2, 3)
        if name is None:
            name = column.removeprefix(EXTRA)
            if column.startswith(STATE):
                name = f"observation.{column.removeprefix(STATE)}"
            while name in taken:
                name += "_"
        taken.add(name)
        features.append(Feature(name, column, dtype, shape))
    return features


def to_arrow(values: Array) -> pa.Array:
    """Return an Arrow array of ``values`` [T, ...]: numbers, or lists (of lists) of numbers."""
    values = np.asarray(values)
    if values.ndim > 1 and values.shape[1:] == (1,):
        values = values[:, 0]
    array = pa.array(values.reshape(-1))
    for axis in range(values.ndim - 1, 0, -1):
        size = values.shape[axis]
        if values.ndim == 2:
            return pa.FixedSizeListArray.from_arrays(array, size)
        offsets = np.arange(0, len(array) + 1, size, dtype=np.int32)
        array = pa.ListArray.from_arrays(pa.array(offsets), array)
    return array


def statistics(values: Array) -> Stats:
    """Return the statistics of one episode's values [T, ...], over time and all but the last axis.

    ``count`` is [1], everything else [size of the last axis], or [1] for numbers.
    """
    flat = np.asarray(values, np.float64)
    flat = flat.reshape(len(flat), 1) if flat.ndim == 1 else flat.reshape(-1, flat.shape[-1])
    named = {f"q{round(100 * q):02d}": np.quantile(flat, q, axis=0) for q in QUANTILES}
    return {
        "min": flat.min(axis=0),
        "max": flat.max(axis=0),
        "mean": flat.mean(axis=0),
        "std": flat.std(axis=0),
        "count": np.array([len(values)], np.float64),
        **named,
    }


def video_statistics(frames: npt.NDArray[np.uint8]) -> Stats:
    """Return the statistics per channel of some of an episode's frames, [3, 1, 1], in [0, 1]."""
    stride = -(-len(frames) // SAMPLED_FRAMES)
    step = -(-max(frames.shape[1:3]) // SAMPLED_SIDE)
    sampled = np.asarray(frames[::stride, ::step, ::step])
    found = statistics(sampled)
    return {
        name: value if name == "count" else (value / 255.0).reshape(3, 1, 1)
        for name, value in found.items()
    }


def merge(first: Stats, second: Stats) -> Stats:
    """Return the statistics of two parts together, as LeRobot aggregates episodes.

    Means and variances are pooled exactly; a quantile is the mean of both, weighted by count.
    """
    total = first["count"] + second["count"]
    share = float((second["count"] / total)[0])

    def mixed(name: str) -> Any:
        return first[name] + share * (second[name] - first[name])

    mean = mixed("mean")
    spread = [part["std"] ** 2 + (part["mean"] - mean) ** 2 for part in (first, second)]
    return {
        **{name: mixed(name) for name in first if name.startswith("q")},
        "min": np.minimum(first["min"], second["min"]),
        "max": np.maximum(first["max"], second["max"]),
        "mean": mean,
        "std": np.sqrt(spread[0] + share * (spread[1] - spread[0])),
        "count": total,
    }


def flat_statistics(stats: Mapping[str, Stats]) -> dict[str, Any]:
    """Return ``stats/<feature>/<statistic>`` as lists, for the table of episodes."""
    return {
        f"stats/{feature}/{name}": _plain(name, value)
        for feature, found in stats.items()
        for name, value in found.items()
    }


def nested_statistics(stats: Mapping[str, Stats]) -> dict[str, dict[str, Any]]:
    """Return the JSON of ``meta/stats.json``."""
    return {
        feature: {name: _plain(name, value) for name, value in found.items()}
        for feature, found in stats.items()
    }


def _plain(name: str, value: npt.NDArray[np.float64]) -> Sequence[Any]:
    plain: Sequence[Any] = value.astype(np.int64 if name == "count" else np.float64).tolist()
    return plain
