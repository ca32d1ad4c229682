"""robomimic's HDF5 files [robomimic documentation, "Dataset Contents and Structure"].

``data`` has the attribute ``env_args`` (JSON); every ``data/demo_<i>`` has ``actions`` (T, A) in
[-1, 1], ``rewards`` and ``dones`` (T), ``obs/<key>`` and often ``next_obs/<key>`` (T, ...); images
are uint8 (T, H, W, C). robomimic's own scripts set ``done`` at the end of every demonstration, so
it is taken for a terminal state only together with a reward above zero, a success there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from embodied.dataset import Episode
from embodied.dataset_json import DatasetInfo
from embodied.errors import UserError
from embodied.formats import hdf5
from embodied.formats.description import Description
from embodied.formats.rows import OBSERVATION, Steps, episode_from_rows, split_at_ends
from embodied.formats.source import ActionRange, Counts, describe_fields, one_per_step, renamed
from embodied.types import Array, Field

FLAT = "flat"  # robomimic's key for an observation that is one vector


class RobomimicSource:
    """A robomimic file; see ``Source``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._counts, self._range = Counts(), ActionRange()
        self._fields: dict[str, Field] = {}
        self._env: dict[str, Any] = {}
        self._description: Description | None = None

    def episodes(self) -> Iterator[Episode]:
        """Yield every demonstration in the order of their numbers."""
        with hdf5.open_hdf5(self._path) as file:
            data = hdf5.subgroup(file, "data")
            self._env = _env_args(data)
            self._description = _description(file)
            found = [name for name in hdf5.names(data) if re.fullmatch(r"demo_\d{1,9}", name)]
            numbers = renamed(
                {name: name for name in found}, lambda name: f"{int(name[len('demo_') :]):09d}"
            )
            for _, name in sorted(numbers.items()):
                for part in self._parts(data, name):
                    yield from self._of(part)

    def _of(self, part: Steps) -> Iterator[Episode]:
        for episode in episode_from_rows(part, self._counts):
            self._range.add(episode.action)
            self._fields = self._fields or describe_fields(episode, "A robomimic observation.")
            yield episode if self._description is None else self._description.restore(episode)

    def _parts(self, data: Any, name: str) -> Iterator[Steps]:
        demo = hdf5.subgroup(data, name)
        found = hdf5.names(demo)
        action = hdf5.read(hdf5.numeric(demo, "actions"))
        columns = {}
        if "rewards" in found:
            columns["environment_reward"] = hdf5.read(hdf5.numeric(demo, "rewards"))
        if "columns" in found and self._description is not None:
            columns |= self._numbers(hdf5.subgroup(demo, "columns"))
        ended = timeout = np.zeros(len(action), bool)
        if "dones" in found:
            ended = one_per_step(hdf5.read(hdf5.numeric(demo, "dones")), "dones").astype(bool)
        reward = columns.get("environment_reward")
        if self._description is None and reward is not None and len(reward) == len(ended):
            ended = ended & (one_per_step(reward, "rewards") > 0)
        steps = Steps(
            observed=self._numbers(hdf5.subgroup(demo, "obs")),
            action=action,
            columns=columns,
            following=self._numbers(hdf5.subgroup(demo, "next_obs"))
            if "next_obs" in found
            else None,
        )
        return split_at_ends(steps, ended, timeout)

    def _numbers(self, group: Any) -> dict[str, Array]:
        found = {}
        for name in hdf5.names(group):
            if hdf5.is_numeric(group[name]) and group[name].shape:
                key = OBSERVATION if name == FLAT else name
                found[key] = hdf5.read(hdf5.numeric(group, name))
            else:
                self._counts.left_out.add(name)
        return found

    def info(self) -> DatasetInfo:
        """Return the description; bounds are robomimic's [-1, 1] unless the data lie outside."""
        counts = {"format": "robomimic", "path": str(self._path), **self._counts.as_json()}
        if self._description is not None:
            return self._description.info_read_from(counts)
        action = self._range.field("robomimic's normalised action.")
        if self._range.within(-1.0, 1.0):
            size = action.shape[0]
            action = Field(
                action.shape,
                "1",
                "robomimic's normalised action.",
                "",
                (-1.0,) * size,
                (1.0,) * size,
            )
        settings = self._env.get("env_kwargs")
        rate = settings.get("control_freq", 0) if isinstance(settings, dict) else 0
        return DatasetInfo(
            environment=str(self._env.get("env_name", "")),
            action=action,
            fields=self._fields,
            control_hz=float(rate) if isinstance(rate, int | float) and np.isfinite(rate) else 0.0,
            origin=counts,
        )

    def videos(self) -> dict[str, dict[str, Any]]:
        """Return nothing: the format has no videos."""
        return {}


def _env_args(data: Any) -> dict[str, Any]:
    text = data.attrs.get("env_args", "{}")
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise UserError(f"{data.file.filename}: env_args is not JSON; fetch it again") from None
    return value if isinstance(value, dict) else {}


def _description(file: Any) -> Description | None:
    if "embodied" not in hdf5.names(file):
        return None
    text = hdf5.read(hdf5.numeric(file, "embodied")).astype(np.uint8).tobytes()
    try:
        return Description.from_json(json.loads(text))
    except (ValueError, RecursionError):
        raise UserError(f"{file.filename}: its description is not JSON; write it again") from None
