"""Writes one HDF5 file in robomimic's documented layout.

Source: robomimic's documentation, "Dataset Contents and Structure". ``data`` has the attributes
``total`` and ``env_args``; ``data/demo_<i>`` has ``num_samples``, ``actions``, ``rewards``,
``dones``, ``obs/<key>`` and ``next_obs/<key>``, all with ``T`` rows. The observation is the key
``flat``, as robomimic's own Gym wrapper names it, and every named field is a key of its own.
``dones`` marks true terminal states alone. Further columns lie in ``demo_<i>/columns`` and our
description, JSON as bytes, in ``/embodied``; robomimic looks at neither.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from embodied.dataset import EXTRA, STATE, Episode
from embodied.dataset_json import DatasetInfo
from embodied.errors import UserError
from embodied.formats.common_write import (
    consistent,
    describe,
    ends_of,
    entries_of,
    new_path,
    reward_of,
    rows_of,
)
from embodied.transforms import REWARD

FLAT = "flat"  # the key of the observation
DESCRIPTION = "embodied"  # outside of ``data``, whose members robomimic takes for demonstrations
SUFFIXES = (".hdf5", ".h5")
_GYM_TYPE = 2  # robomimic's EnvType


def write(path: Path, info: DatasetInfo, episodes: Iterable[Episode]) -> None:
    """Write episodes as they come; the file appears whole or not at all.

    Raises:
        UserError: ``h5py`` is missing, the name is not one of an HDF5 file, the file exists, the
            episodes do not fit together, or an action lies outside of [-1, 1], the range that
            robomimic prescribes.
    """
    try:
        import h5py
    except ImportError:
        raise UserError("robomimic's files need h5py: pip install 'embodied-stack[data]'") from None
    if Path(path).suffix not in SUFFIXES:
        raise UserError(f"robomimic's format is one file; end the output with .hdf5, not {path}")
    first, checked = consistent(episodes)
    if FLAT in first.state:
        raise UserError(f"a field named {FLAT!r} would stand for the observation; rename it")
    total = 0
    with new_path(path) as temporary, h5py.File(temporary, "w") as file:
        text = json.dumps(describe(info, first), allow_nan=False)
        file[DESCRIPTION] = np.frombuffer(text.encode(), np.uint8)
        data = file.create_group("data")
        for index, episode in enumerate(checked):
            _write_demo(data.create_group(f"demo_{index}"), episode)
            total += len(episode.action)
        data.attrs["total"] = total
        data.attrs["env_args"] = json.dumps(
            {"env_name": info.environment, "type": _GYM_TYPE, "env_kwargs": {}}
        )


def _write_demo(demo: Any, episode: Episode) -> None:
    if not (np.abs(episode.action) <= 1).all():
        raise UserError(
            f"robomimic's actions lie in [-1, 1], but {demo.name} has one of "
            f"{np.abs(episode.action).max():.3g}; write another format"
        )
    demo.attrs["num_samples"] = len(episode.action)
    demo["actions"] = episode.action
    demo["rewards"] = reward_of(episode)
    demo["dones"] = ends_of(episode)[0].astype(np.int64)
    for name, values in rows_of(episode).items():
        key = FLAT if name == "observation" else name.removeprefix(STATE)
        demo[f"obs/{key}"], demo[f"next_obs/{key}"] = values[:-1], values[1:]
    for name, values in entries_of(episode).items():
        if name not in ("action", f"{EXTRA}{REWARD}"):
            demo[f"columns/{name.removeprefix(EXTRA)}"] = values
