"""What the writers of foreign formats share: checked episodes, and what a dataset says of itself.

A foreign format has no place for units, frames or the difference between a named field and a
column. Every writer therefore stores ``description`` beside its data, where the format's own
library does not look; with it a dataset comes back as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embodied.dataset import EXTRA, STATE, Episode
from embodied.dataset_json import SCHEMA_VERSION, DatasetInfo, info_to_json
from embodied.errors import UserError
from embodied.files import atomic_path
from embodied.transforms import REWARD
from embodied.types import Array


@contextmanager
def new_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name for a file or folder that must not exist yet; see ``atomic_path``."""
    if Path(path).exists():
        raise UserError(f"{path} exists already; name another place or remove it")
    with atomic_path(path) as temporary:
        yield temporary


def rows_of(episode: Episode) -> dict[str, Array]:
    """Return what an episode observes, [T+1, ...] each, by stored name."""
    fields = {f"{STATE}{name}": np.asarray(values) for name, values in episode.state.items()}
    return {"observation": np.asarray(episode.observation), **fields}


def entries_of(episode: Episode) -> dict[str, Array]:
    """Return what belongs to an episode's transitions, [T, ...] each, by stored name."""
    columns = {f"{EXTRA}{name}": np.asarray(values) for name, values in episode.columns.items()}
    return {"action": np.asarray(episode.action), **columns}


def ends_of(episode: Episode) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return ``terminated`` and ``truncated``, bool [T]: the last transition is one of them."""
    last = np.zeros(len(episode.action), bool)
    last[-1:] = True
    return last & episode.terminated, last & (not episode.terminated)


def reward_of(episode: Episode) -> Array:
    """Return the reward [T]; zeros where the dataset has none, since the formats demand one."""
    return np.asarray(episode.columns.get(REWARD, np.zeros(len(episode.action), np.float32)))


def describe(info: DatasetInfo, first: Episode) -> dict[str, Any]:
    """Return what a writer keeps so that its dataset can be read back exactly (JSON values).

    ``columns`` has the keys of ``dataset.json``: by stored name ``per`` (row or transition),
    ``dtype`` and ``shape``. A column that is not listed, such as a reward of zeros, is no column of
    the dataset.
    """
    columns = {
        name: {"per": per, "dtype": values.dtype.str, "shape": list(values.shape[1:])}
        for per, arrays in (("row", rows_of(first)), ("transition", entries_of(first)))
        for name, values in arrays.items()
    }
    return {"schema_version": SCHEMA_VERSION, "info": info_to_json(info), "columns": columns}


def bounds(info: DatasetInfo, size: int, dtype: Any) -> tuple[Array, Array]:
    """Return the lowest and the highest action, ``[size]`` each; infinite where not declared."""
    low = -np.inf if info.action.low is None else np.asarray(info.action.low)
    high = np.inf if info.action.high is None else np.asarray(info.action.high)
    return np.full(size, low, dtype), np.full(size, high, dtype)


def consistent(episodes: Iterable[Episode]) -> tuple[Episode, Iterator[Episode]]:
    """Return the first episode, and all of them, each checked against the first when it is drawn.

    Raises:
        UserError: There is no episode, or (while drawing) one does not fit the first.
    """
    iterator = iter(episodes)
    first = next(iterator, None)
    if first is None:
        raise UserError("a dataset needs at least one episode; nothing was written")
    return first, (_checked(item, first) for item in chain([first], iterator))


def _checked(episode: Episode, first: Episode) -> Episode:
    length = len(episode.action)
    if length == 0:
        raise UserError("an episode needs at least one transition; leave out empty ones")
    for part, count in ((rows_of, length + 1), (entries_of, length)):
        found, expected = part(episode), part(first)
        if found.keys() != expected.keys():
            raise UserError("an episode has other columns than the episodes before it")
        _check_arrays(found, expected, count)
    return episode


def _check_arrays(found: Mapping[str, Array], expected: Mapping[str, Array], count: int) -> None:
    for name, values in found.items():
        like = expected[name]
        if values.dtype.kind not in "biuf":
            raise UserError(f"column {name!r} of {values.dtype} cannot be kept; leave it out")
        if values.shape != (count, *like.shape[1:]) or values.dtype != like.dtype:
            raise UserError(
                f"column {name}: an episode of {count} entries cannot take {values.dtype} "
                f"{list(values.shape)}"
            )
