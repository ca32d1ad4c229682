"""Writes a Minari dataset (HDF5) with Minari's own storage, so that Minari reads it.

Layout: ``<output>/data/`` as under Minari's own root, so the folder can be moved there. Minari's
observations have ``T + 1`` entries like ours, and so have its infos, whose first entry belongs to
the reset: a column of ours gets a first entry of zeros, and the named fields, which are observed,
lie under ``infos/state`` as they are. ``metadata.json`` holds our description under ``embodied``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from embodied.dataset import Episode
from embodied.dataset_json import DatasetInfo
from embodied.errors import UserError
from embodied.formats.common_write import (
    bounds,
    consistent,
    describe,
    ends_of,
    new_path,
    reward_of,
)
from embodied.transforms import REWARD
from embodied.types import Array

STATE_INFO = "state"  # the group of infos that holds the named fields
DESCRIPTION_KEY = "embodied"  # of metadata.json


def write(path: Path, info: DatasetInfo, episodes: Iterable[Episode]) -> None:
    """Write episodes as they come; the folder appears whole or not at all.

    Raises:
        UserError: ``minari`` is missing, the folder exists, or the episodes do not fit together.
    """
    try:
        import minari
        from gymnasium.spaces import Box
        from minari.dataset.minari_storage import MinariStorage
    except ImportError:
        raise UserError("Minari needs its package: pip install 'embodied-stack[data]'") from None
    first, checked = consistent(episodes)
    if STATE_INFO in first.columns:
        raise UserError(f"a column named {STATE_INFO!r} has no place in Minari's infos; rename it")
    size, kind = first.observation.shape[1], first.observation.dtype
    low, high = bounds(info, first.action.shape[1], first.action.dtype)
    # Minari counts the bytes of a relative folder in the wrong place.
    with new_path(Path(path).absolute()) as folder:
        (folder / "data").mkdir(parents=True)
        storage = MinariStorage.new(
            folder / "data",
            observation_space=Box(-np.inf, np.inf, (size,), kind),
            action_space=Box(low, high, dtype=first.action.dtype),
        )
        storage.update_episodes(_buffer(item) for item in checked)
        storage.update_metadata(
            {
                "dataset_id": dataset_id(info.environment),
                "minari_version": minari.__version__,
                "description": _text(info, first),
                DESCRIPTION_KEY: describe(info, first),
            }
        )


def dataset_id(environment: str) -> str:
    """Return Minari's id for a dataset of that environment: ``embodied/<name>-v0``."""
    # Minari takes a version at the end for the dataset's own.
    name = re.sub(r"\W+", "-", re.sub(r"-v\d+$", "", environment)).strip("-")
    return f"embodied/{name or 'dataset'}-v0"


def _buffer(episode: Episode) -> Any:
    from minari.data_collector import EpisodeBuffer

    terminated, truncated = ends_of(episode)
    columns = {name: values for name, values in episode.columns.items() if name != REWARD}
    infos: dict[str, Any] = {name: _with_reset(values) for name, values in columns.items()}
    if episode.state:
        infos[STATE_INFO] = dict(episode.state)
    return EpisodeBuffer(
        observations=episode.observation,
        actions=episode.action,
        rewards=reward_of(episode),
        terminations=terminated,
        truncations=truncated,
        infos=infos,
    )


def _with_reset(values: Array) -> Array:
    return np.concatenate([np.zeros_like(values[:1]), values])


def _text(info: DatasetInfo, first: Episode) -> str:
    action = info.action
    told = f"Episodes of {info.environment}. Action: {action.meaning} Unit: {action.unit}."
    return (
        told if REWARD in first.columns else f"{told} No reward was recorded: it is 0 throughout."
    )
