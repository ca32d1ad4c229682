"""The metadata of a LeRobot dataset (v2.1 and v3.0), checked when it is read.

Layout: LeRobot's documentation, "LeRobotDataset v3.0", and, for v2.1, the paths that
``lerobot.datasets.v30.convert_dataset_v21_to_v30`` converts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embodied.errors import UserError
from embodied.files import read_json
from embodied.formats.parquet import batches, to_numpy
from embodied.formats.source import told_as_damage
from embodied.formats.video_column import inside

VERSIONS = ("v2.1", "v3.0")
MAX_TASKS = 1000  # sentences that are kept in the dataset's origin
PLACEHOLDER = re.compile(r"\{(\w+)(?::(0\d)d)?\}")


@dataclass(frozen=True)
class EpisodePlace:
    """Where one episode lies."""

    index: int
    length: int  # rows
    data: Path  # Parquet file that holds its rows
    videos: Mapping[str, tuple[str, float]] = field(default_factory=dict)  # file and first second


@dataclass(frozen=True)
class LeRobotInfo:
    """``meta/info.json`` as far as it is used."""

    root: Path  # resolved
    version: str
    fps: float
    robot_type: str
    features: Mapping[str, Mapping[str, Any]]
    data_path: str
    video_path: str
    chunks_size: int

    @property
    def cameras(self) -> dict[str, tuple[int, int, int]]:
        """Height, width and 3 of every video feature."""
        return {
            name: _frame_shape(name, feature)
            for name, feature in self.features.items()
            if feature["dtype"] == "video"
        }


def read_info(root: Path) -> LeRobotInfo:
    """Read ``meta/info.json``.

    Raises:
        UserError: It is malformed, or of a version that is not read.
    """
    path = root / "meta" / "info.json"
    value = read_json(path, ("codebase_version", "fps", "features", "data_path"))
    version, features, fps = value["codebase_version"], value["features"], value["fps"]
    if version not in VERSIONS:
        raise UserError(
            f"{root} is a LeRobot dataset of version {version!r}; {' and '.join(VERSIONS)} are "
            "read, and LeRobot's own scripts convert older ones"
        )
    chunks = value.get("chunks_size", 1000)
    sound = isinstance(features, dict) and isinstance(fps, int | float) and 0 < fps < 1e6
    sound = sound and type(chunks) is int and chunks > 0
    if not sound or not all(_is_feature(item) for item in features.values()):
        raise UserError(f"{path} is malformed (features, fps or chunks_size); fetch it again")
    return LeRobotInfo(
        root=root.resolve(),
        version=version,
        fps=float(fps),
        robot_type=str(value.get("robot_type") or ""),
        features=features,
        data_path=str(value["data_path"]),
        video_path=str(value.get("video_path") or ""),
        chunks_size=chunks,
    )


def _is_feature(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("dtype"), str)
        and isinstance(value.get("shape"), list)
        and all(type(size) is int and size >= 0 for size in value["shape"])
    )


def _frame_shape(name: str, feature: Mapping[str, Any]) -> tuple[int, int, int]:
    shape, names = feature["shape"], feature.get("names")
    if len(shape) == 3 and isinstance(names, list) and names[:1] in (["channels"], ["channel"]):
        shape = [*shape[1:], shape[0]]
    if len(shape) != 3 or shape[2] != 3 or not all(shape):
        raise UserError(f"video {name} has shape {shape}; only colour videos [H, W, 3] are read")
    return shape[0], shape[1], 3


def fill(template: str, values: Mapping[str, int | str]) -> str:
    """Return a path template with its placeholders filled.

    ``str.format`` would follow attributes and indices in a template, so it is not used.

    Raises:
        UserError: A placeholder that is unknown.
    """

    def value(found: re.Match[str]) -> str:
        name, width = found[1], found[2]
        if name not in values or (width and not isinstance(values[name], int)):
            raise UserError(f"the path {template!r} in meta/info.json is not understood")
        return f"{values[name]:{width}d}" if width else str(values[name])

    filled = PLACEHOLDER.sub(value, template)
    if "{" in PLACEHOLDER.sub("", template) or "}" in PLACEHOLDER.sub("", template):
        raise UserError(f"the path {template!r} in meta/info.json is not understood")
    return filled


def places(info: LeRobotInfo) -> Iterator[EpisodePlace]:
    """Yield where every episode lies, in the order of their index.

    Raises:
        UserError: The table of episodes is damaged, or a path leads out of the dataset.
    """
    found = _places_v3(info) if info.version == "v3.0" else _places_v21(info)
    for number, place in enumerate(found):
        if place.index != number or place.length < 1:
            raise UserError(
                f"{info.root} lists episode {place.index} with {place.length} rows as number "
                f"{number}; fetch its meta folder again"
            )
        yield place


def _places_v3(info: LeRobotInfo) -> Iterator[EpisodePlace]:
    files = sorted((info.root / "meta" / "episodes").glob("chunk-*/file-*.parquet"))
    if not files:
        raise UserError(f"{info.root} has no meta/episodes; fetch it again")
    plain = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    video = ("chunk_index", "file_index", "from_timestamp")
    names = plain + [f"videos/{key}/{item}" for key in info.cameras for item in video]
    for path in files:
        for batch in batches(inside(info.root, str(path.relative_to(info.root))), names):
            table = {name: to_numpy(batch.column(name), path, name) for name in names}
            for row in range(batch.num_rows):
                index, length, chunk, file = (int(table[name][row]) for name in plain)
                at = {"chunk_index": chunk, "file_index": file}
                videos = {}
                for key in info.cameras:
                    chunk, file, start = (table[f"videos/{key}/{item}"][row] for item in video)
                    where: dict[str, int | str] = {
                        "chunk_index": int(chunk),
                        "file_index": int(file),
                        "video_key": key,
                    }
                    videos[key] = fill(info.video_path, where), float(start)
                data = inside(info.root, fill(info.data_path, at))
                yield EpisodePlace(index, length, data, videos)


def _places_v21(info: LeRobotInfo) -> Iterator[EpisodePlace]:
    for number, line in enumerate(json_lines(info.root / "meta" / "episodes.jsonl")):
        index, length = line.get("episode_index"), line.get("length")
        if type(index) is not int or type(length) is not int:
            raise UserError(
                f"{info.root}/meta/episodes.jsonl is malformed in line {number + 1}; fetch it again"
            )
        at: dict[str, int | str] = {
            "episode_chunk": index // info.chunks_size,
            "episode_index": index,
        }
        videos = {
            key: (fill(info.video_path, {**at, "video_key": key}), 0.0) for key in info.cameras
        }
        yield EpisodePlace(index, length, inside(info.root, fill(info.data_path, at)), videos)


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file with one JSON object per line.

    Raises:
        UserError: The file is missing, or a line is no JSON object.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; fetch the dataset again")
    with told_as_damage(path, "a file of JSON lines"), path.open(encoding="utf-8") as stream:
        for line in filter(str.strip, stream):
            value = json.loads(line)
            if not isinstance(value, dict):
                raise UserError(f"{path} does not hold a JSON object per line; fetch it again")
            yield value


def tasks(info: LeRobotInfo) -> list[str]:
    """Return the first sentences that tell what was done, by ``task_index``."""
    found: dict[int, str] = {}
    if info.version == "v2.1":
        path = info.root / "meta" / "tasks.jsonl"
        for line in json_lines(path) if path.is_file() else ():
            if type(line.get("task_index")) is int:
                found[line["task_index"]] = str(line.get("task"))
    elif (path := info.root / "meta" / "tasks.parquet").is_file():
        for batch in batches(path):
            text = next((n for n in batch.schema.names if n != "task_index"), None)
            if text is None or "task_index" not in batch.schema.names:
                raise UserError(f"{path} lacks task_index or the sentences; fetch it again")
            numbers = np.ravel(to_numpy(batch.column("task_index"), path, "task_index"))
            sentences = batch.column(text).to_pylist()
            found |= {int(n): str(s) for n, s in zip(numbers, sentences, strict=True)}
    return [sentence for _, sentence in sorted(found.items())][:MAX_TASKS]
