"""Minari's datasets (HDF5, Arrow, Parquet), read with ``minari``'s own storages.

Minari's observations have ``T + 1`` entries like ours, ``rewards[t]`` belongs to the step from
``t``, and infos have ``T + 1`` entries of which the first belongs to the reset (Minari's
documentation, "Dataset Standards"). Minari makes the environment that a dataset names when its
metadata lack a space, which can run any code that is installed; so both spaces must be there, and
the environment's description is only read as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from embodied.dataset import Episode
from embodied.dataset_json import DatasetInfo
from embodied.errors import UserError
from embodied.files import read_json
from embodied.formats import minari_files
from embodied.formats.description import Description
from embodied.formats.rows import (
    OBSERVATION,
    PER_STEP,
    Steps,
    episode_from_rows,
    split_at_ends,
)
from embodied.formats.source import (
    NUMBERS,
    ActionRange,
    Counts,
    describe_fields,
    renamed,
    told_as_damage,
)
from embodied.types import Array, Field

STATE_INFO = "state"  # the group of infos in which our writer keeps the named fields


class MinariSource:
    """A Minari dataset; ``path`` is its folder or the ``data`` folder within. See ``Source``."""

    def __init__(self, path: Path) -> None:
        inner = path / "data"
        self._path = inner if (inner / "metadata.json").is_file() else path
        self._counts, self._range = Counts(), ActionRange()
        self._fields: dict[str, Field] = {}
        self._columns: set[str] | None = None  # of the first episode; later ones have the same
        self._metadata = read_json(
            self._path / "metadata.json", ("observation_space", "action_space", "data_format")
        )
        mine = self._metadata.get("embodied")
        self._description = None if mine is None else Description.from_json(mine)
        self._space: Any = None

    def episodes(self) -> Iterator[Episode]:
        """Yield every episode, each looked over before Minari reads it."""
        try:
            from minari.dataset.minari_storage import MinariStorage
        except ImportError:
            raise UserError(
                "Minari needs its package: pip install 'embodied-stack[data]'"
            ) from None
        total = self._metadata.get("total_episodes")
        if type(total) is not int or total < 1:
            raise UserError(f"{self._path} holds no episodes; fetch it again")
        with told_as_damage(self._path, "a Minari dataset"):
            spaces = [self._metadata[name] for name in ("observation_space", "action_space")]
            if not all(isinstance(item, str) for item in spaces):
                raise UserError(f"{self._path}/metadata.json lacks its spaces; fetch it again")
            check = minari_files.checker(self._path, self._metadata)
            storage = MinariStorage.read(self._path)
            self._space = storage.action_space
            for index in range(total):
                check(index)
                (raw,) = storage.get_episodes([index])
                yield from self._of(raw)

    def _of(self, raw: Mapping[str, Any]) -> Iterator[Episode]:
        action = np.asarray(raw["actions"])
        if action.dtype.kind != "f" or not len(action):
            raise UserError(
                f"{self._path}: actions are {action.dtype}{list(action.shape)}; only vectors of "
                "floating-point numbers are learnt"
            )
        action = action.reshape(len(action), -1)
        observed = {
            name: values
            for name, values in _flat(raw["observations"], "").items()
            if self._is_kept(name or "observation", values)
        }
        if OBSERVATION in observed:
            plain = observed[OBSERVATION]
            observed[OBSERVATION] = plain.reshape(len(plain), -1)
        columns = {}
        for name, values in _flat(raw["infos"] or {}, "").items():
            if self._description is not None and name.startswith(f"{STATE_INFO}/"):
                observed[name.removeprefix(f"{STATE_INFO}/")] = values
            elif self._is_kept(name, values) and len(values) - len(action) in (0, 1):
                columns[name] = values[len(values) - len(action) :]
            else:
                self._counts.left_out.add(name)
        columns = self._known(renamed(columns, self._info_name))
        columns["environment_reward"] = np.asarray(raw["rewards"])
        steps = Steps(observed=observed, action=action, columns=columns)
        flags = (np.asarray(raw[name]) for name in ("terminations", "truncations"))
        for part in split_at_ends(steps, *flags):
            for episode in episode_from_rows(part, self._counts):
                self._range.add(episode.action)
                self._fields = self._fields or describe_fields(episode, "A Minari observation.")
                yield episode if self._description is None else self._description.restore(episode)

    def _info_name(self, name: str) -> str:
        # Only our own writer's infos may bear the names that training takes rewards from.
        return f"infos/{name}" if self._description is None and name in PER_STEP else name

    def _is_kept(self, name: str, values: Any) -> bool:
        kept = isinstance(values, np.ndarray) and values.dtype.kind in NUMBERS and values.ndim > 0
        if not kept:
            self._counts.left_out.add(name)
        return kept

    def _known(self, columns: dict[str, Array]) -> dict[str, Array]:
        self._columns = set(columns) if self._columns is None else self._columns
        self._counts.left_out |= columns.keys() - self._columns
        return {name: values for name, values in columns.items() if name in self._columns}

    def info(self) -> DatasetInfo:
        """Return the description; the action's bounds are those of its space where it has any."""
        counts = {
            "format": "minari",
            "path": str(self._path),
            "dataset_id": str(self._metadata.get("dataset_id", "")),
            **self._counts.as_json(),
        }
        if self._description is not None:
            return self._description.info_read_from(counts)
        action = self._range.field("The environment's action.")
        low, high = (np.ravel(getattr(self._space, side, np.inf)) for side in ("low", "high"))
        if low.shape == high.shape == action.shape and np.isfinite([low, high]).all():
            bounds = (tuple(float(item) for item in side) for side in (low, high))
            action = Field(action.shape, "unknown", "The environment's action.", "", *bounds)
        return DatasetInfo(
            environment=self._environment(), action=action, fields=self._fields, origin=counts
        )

    def _environment(self) -> str:
        try:
            spec = json.loads(self._metadata.get("env_spec") or "{}")
        except (TypeError, ValueError, RecursionError):
            return ""
        return str(spec.get("id", "")) if isinstance(spec, dict) else ""

    def videos(self) -> dict[str, dict[str, Any]]:
        """Return nothing: the format has no videos."""
        return {}


def _flat(value: Any, name: str) -> dict[str, Any]:
    """Return nested dictionaries and tuples as one, with ``/`` between the names."""
    if isinstance(value, tuple):
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, dict):
        return {name: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        # A key without a name must not pass for the whole.
        for inner, leaf in _flat(item, f"{name}/{key}" if name else str(key) or "_").items():
            if inner in found:
                raise UserError(f"two entries are called {inner}; rename one in the dataset")
            found[inner] = leaf
    return found
