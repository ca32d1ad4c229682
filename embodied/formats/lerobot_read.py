"""LeRobot's datasets v2.1 and v3.0, read without ``lerobot``: Parquet rows and MP4 videos.

A row is ``(o_t, a_t)`` with what followed it: ``next.reward`` and ``next.success`` belong to the
step from ``o_t``. The observation after the last action is not recorded; ``rows`` says what becomes
of that action. An episode ends in a terminal state where its last row has ``next.done`` without
``next.truncated``, by time where it has ``next.truncated``, and is cut where it has neither.
Videos stay where they are and are decoded when they are read.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from embodied.dataset import STATE, Episode
from embodied.dataset_json import DatasetInfo
from embodied.errors import UserError
from embodied.files import read_json
from embodied.formats.description import Description
from embodied.formats.lerobot_meta import EpisodePlace, places, read_info, tasks
from embodied.formats.parquet import batches, to_numpy
from embodied.formats.rows import OBSERVATION, Steps, episode_from_rows, split_at_ends
from embodied.formats.source import (
    ActionRange,
    Counts,
    check_size,
    describe_fields,
    one_per_step,
    renamed,
    stored_name,
    told_as_damage,
)
from embodied.formats.video_column import inside
from embodied.types import Array, Field

INDEX = ("timestamp", "frame_index", "episode_index", "index")  # follow from the order of rows
ENDS = ("next.done", "next.truncated")
RENAMED = {"next.reward": "environment_reward", "next.success": "success"}
SIDECAR = Path("meta", "embodied")  # what our writer leaves beside LeRobot's own files


class LeRobotSource:
    """A LeRobot dataset; ``path`` is the folder that holds ``meta``. See ``Source``."""

    def __init__(self, path: Path) -> None:
        self._info = read_info(path)
        if "action" not in self._info.features:
            raise UserError(f"{path} has no feature `action`; fetch it again")
        self._counts, self._range = Counts(), ActionRange()
        self._fields: dict[str, Field] = {}
        self._videos: dict[str, list[tuple[str, float, int]]] = {
            name: [] for name in self._info.cameras
        }
        self._description, self._stored = _description(path, self._info.features)
        self._final = _Final(self._info.root / SIDECAR / "final_observations.parquet")
        observed = (name for name in self._wanted() if name.startswith("observation."))
        # Cameras and numbers share the names of state fields.
        renamed(
            {n: n for n in (*observed, *self._videos)},
            lambda n: stored_name(self._observed_name(n)),
        )

    def episodes(self) -> Iterator[Episode]:
        """Yield every episode in the order of their index."""
        rows = _Rows()
        for place in places(self._info):
            raw = {
                name: values
                for name, values in rows.of(place, self._wanted()).items()
                if values is not None
            }
            first = 0
            for part in self._parts(place, raw):
                for episode in episode_from_rows(part, self._counts):
                    self._range.add(episode.action)
                    self._fields = self._fields or describe_fields(
                        episode, "A LeRobot observation."
                    )
                    self._note_videos(place, first, len(part.action))
                    known = self._description
                    yield episode if known is None else known.restore(episode)
                first += len(part.action)

    def _wanted(self) -> list[str]:
        """Return the features that are read: numbers and images, but for what order implies."""
        wanted = []
        for name, feature in self._info.features.items():
            if name in INDEX or feature["dtype"] == "video":
                continue
            if feature["dtype"] == "string":
                self._counts.left_out.add(name)
            else:
                wanted.append(name)
        return ["episode_index", "frame_index", *wanted]

    def _parts(self, place: EpisodePlace, raw: dict[str, Array]) -> Iterator[Steps]:
        no_end = np.zeros(place.length, bool)
        done, timeout = (one_per_step(raw.pop(name, no_end), name).astype(bool) for name in ENDS)
        action = raw.pop("action")
        observed = {k: raw.pop(k) for k in list(raw) if k.startswith("observation.")}
        final = self._final.of(place.index)
        if final is not None:
            observed = {
                name: np.concatenate([values, final[name].reshape(1, *values.shape[1:])])
                for name, values in observed.items()
                if name in final
            }
        steps = Steps(
            observed=renamed(observed, self._observed_name),
            action=action.reshape(len(action), -1),
            columns=renamed(raw, self._column_name),
        )
        return split_at_ends(steps, done & ~timeout, timeout)

    def _observed_name(self, name: str) -> str:
        if self._description is not None:
            stored = self._stored.get(name, name)
            return OBSERVATION if stored == "observation" else stored.removeprefix(STATE)
        return _short(name)

    def _column_name(self, name: str) -> str:
        if self._description is not None:
            return self._stored.get(name, name).removeprefix("column.")
        return RENAMED.get(name, name)

    def _note_videos(self, place: EpisodePlace, first: int, rows: int) -> None:
        for name, (file, start) in place.videos.items():
            if not inside(self._info.root, file).is_file():
                raise UserError(f"{self._info.root}/{file} is missing; fetch the dataset again")
            self._videos[name].append((file, start + first / self._info.fps, rows))

    def info(self) -> DatasetInfo:
        """Return the description; LeRobot does not say in which environment it was recorded."""
        counts = {
            "format": f"lerobot {self._info.version}",
            "path": str(self._info.root),
            "robot_type": self._info.robot_type,
            "tasks": tasks(self._info),
            **self._counts.as_json(),
        }
        if self._description is not None:
            return self._description.info_read_from(counts)
        cameras = {
            _short(name): Field(shape, "1", "Camera image, RGB in 0..255.")
            for name, shape in self._info.cameras.items()
        }
        return DatasetInfo(
            environment="",
            action=self._range.field("The robot's action."),
            fields=self._fields | cameras,
            control_hz=self._info.fps,
            origin=counts,
        )

    def videos(self) -> dict[str, dict[str, Any]]:
        """Return the video columns as ``open_video_column`` reads them."""
        return {
            self._stored.get(name, f"{STATE}{stored_name(_short(name))}"): {
                "per": "row",
                "dtype": "|u1",
                "shape": list(self._info.cameras[name]),
                "video": {
                    "root": str(self._info.root),
                    "fps": self._info.fps,
                    "episodes": [list(item) for item in episodes],
                },
            }
            for name, episodes in self._videos.items()
        }


def _short(name: str) -> str:
    """Return ``front`` for ``observation.images.front`` and ``state`` for ``observation.state``."""
    return name.removeprefix("observation.").removeprefix("images.") or name


def _description(path: Path, features: Any) -> tuple[Description | None, dict[str, str]]:
    """Return what our writer left, and the stored name of every feature."""
    file = path / SIDECAR / "dataset.json"
    if not file.is_file():
        return None, {}
    value = read_json(file, ("features",))
    if not isinstance(value["features"], dict):
        raise UserError(f"{file} is malformed (features); write it again")
    stored = {str(name): str(column) for column, name in value["features"].items()}
    found = Description.from_json(value)
    video = {
        column for name, column in stored.items() if features.get(name, {}).get("dtype") == "video"
    }
    kept = {name: entry for name, entry in found.columns.items() if name not in video}
    return Description(found.info, kept), stored


class _Final:
    """The last observations of all episodes, where our writer kept them."""

    def __init__(self, path: Path) -> None:
        self._known: dict[int, dict[str, Array]] = {}
        for batch in batches(path) if path.is_file() else ():
            names = batch.schema.names
            if "episode_index" not in names:
                raise UserError(f"{path} lacks episode_index; write it again")
            table = {name: to_numpy(batch.column(name), path, name) for name in names}
            for row, index in enumerate(table["episode_index"].tolist()):
                self._known[index] = {name: table[name][row] for name in names}

    def of(self, index: int) -> dict[str, Array] | None:
        """Return the last observation of an episode by feature, or None where it is unknown."""
        return self._known.get(index)


class _Rows:
    """Reads the rows of one episode after the other; a file is read once for all of its own."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._batches: Iterator[Any] = iter(())
        self._rest: dict[str, Array] = {}

    def of(self, place: EpisodePlace, names: list[str]) -> dict[str, Array]:
        """Return the rows of an episode by feature.

        Raises:
            UserError: The file is damaged, or holds other rows than the metadata say.
        """
        if self._path != place.data:
            self._path, self._rest = place.data, {}
            self._batches = batches(place.data, names)
        parts, count = [self._rest] if self._rest else [], _length(self._rest)
        while count < place.length:
            batch = next(self._batches, None)
            if batch is None:
                raise UserError(
                    f"{place.data} ends within episode {place.index}; fetch the dataset again"
                )
            parts.append({n: _decoded(batch.column(n), place.data, n) for n in names})
            count += batch.num_rows
            size = sum(values.nbytes for part in parts for values in part.values())
            check_size(place.data, f"episode {place.index}", (size,), "u1")
        with told_as_damage(place.data, "a Parquet file of equal rows"):
            joined = {n: np.concatenate([part[n] for part in parts]) for n in names}
        self._rest = {n: values[place.length :] for n, values in joined.items()}
        found = {n: values[: place.length] for n, values in joined.items()}
        frames, episode = np.ravel(found.pop("frame_index")), np.ravel(found.pop("episode_index"))
        if (episode != place.index).any() or (frames != np.arange(place.length)).any():
            raise UserError(
                f"{place.data} holds other rows than the metadata say for episode {place.index}; "
                "fetch the dataset again"
            )
        return found


def _length(rows: dict[str, Array]) -> int:
    return len(next(iter(rows.values()))) if rows else 0


def _decoded(array: Any, path: Path, name: str) -> Array:
    """Return a column as numbers; encoded images (a struct with ``bytes``) become uint8."""
    import pyarrow as pa

    if not pa.types.is_struct(array.type):
        return to_numpy(array, path, name)
    from PIL import Image

    frames = []
    for item in array.to_pylist():
        content = item.get("bytes") if isinstance(item, dict) else None
        if not isinstance(content, bytes):
            raise UserError(f"{path}: {name} names image files instead of holding images")
        with (
            told_as_damage(path, "a file of PNG or JPEG images"),
            Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image,
        ):
            check_size(path, name, (len(array), image.height, image.width, 3), "u1")
            frames.append(np.asarray(image.convert("RGB")))
    if len({frame.shape for frame in frames}) != 1:
        raise UserError(f"{path}: {name} holds images of different sizes")
    return np.stack(frames)
