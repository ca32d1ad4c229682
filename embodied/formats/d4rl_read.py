"""D4RL's HDF5 files: flat arrays over all steps, read without the ``d4rl`` package.

Layout [Fu et al. 2020, arXiv:2004.07219]: ``observations`` [N, O], ``actions`` [N, A], ``rewards``
[N], ``terminals`` [N], optionally ``timeouts`` [N], ``next_observations`` [N, O] and ``infos/*``.
``rewards[t]`` belongs to the step from row ``t``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from embodied.dataset import Episode
from embodied.dataset_json import DatasetInfo
from embodied.errors import UserError
from embodied.formats import hdf5
from embodied.formats.rows import OBSERVATION, Steps, episode_from_rows
from embodied.formats.source import ActionRange, Counts


class D4RLSource:
    """A D4RL file; see ``Source``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._counts, self._range = Counts(), ActionRange()

    def episodes(self) -> Iterator[Episode]:
        """Yield every episode, cut where ``terminals`` or ``timeouts`` say so."""
        with hdf5.open_hdf5(self._path) as file:
            observations, actions = (
                hdf5.numeric(file, name) for name in ("observations", "actions")
            )
            columns = self._columns(file)
            following = None
            if "next_observations" in hdf5.names(file):
                following = hdf5.numeric(file, "next_observations")
            terminal, timeout = self._ends(file, following is not None)
            arrays = {"observations": observations, "actions": actions, **columns}
            for name, item in arrays.items():
                if len(item) != len(terminal):
                    raise UserError(
                        f"{self._path}: {len(item)} rows of {name} for {len(terminal)} terminals; "
                        "fetch it again"
                    )
            stops = np.flatnonzero(terminal | timeout) + 1
            if not len(stops) or stops[-1] != len(terminal):
                stops = np.append(stops, len(terminal))
            start = 0
            for stop in stops.tolist():
                steps = Steps(
                    observed={OBSERVATION: hdf5.read(observations, start, stop)},
                    action=hdf5.read(actions, start, stop),
                    terminated=bool(terminal[stop - 1]),
                    timeout=bool(timeout[stop - 1]),
                    columns={k: hdf5.read(item, start, stop) for k, item in columns.items()},
                    following=None
                    if following is None
                    else {OBSERVATION: hdf5.read(following, start, stop)},
                )
                start = stop
                for episode in episode_from_rows(steps, self._counts):
                    self._range.add(episode.action)
                    yield episode

    def _ends(self, file: Any, next_recorded: bool) -> tuple[Any, Any]:
        terminal = hdf5.read(hdf5.numeric(file, "terminals")).reshape(-1).astype(bool)
        if "timeouts" in hdf5.names(file):
            timeout = hdf5.read(hdf5.numeric(file, "timeouts")).reshape(-1).astype(bool)
        elif next_recorded:
            timeout = np.zeros_like(terminal)
        else:
            raise UserError(
                f"{self._path} has neither timeouts nor next_observations, so steps across the end "
                "of an episode cannot be told; add a truth value `timeouts` per row"
            )
        if timeout.shape != terminal.shape or not len(terminal):
            raise UserError(
                f"{self._path} has {len(timeout)} timeouts, {len(terminal)} terminals; mend it"
            )
        return terminal, timeout

    def _columns(self, file: Any) -> dict[str, Any]:
        columns = {}
        if "rewards" in hdf5.names(file):
            columns["environment_reward"] = hdf5.numeric(file, "rewards")
        if "infos" in hdf5.names(file):
            group = hdf5.subgroup(file, "infos")
            for name in hdf5.names(group):
                if hdf5.is_numeric(group[name]) and group[name].shape:
                    columns[f"infos/{name}"] = hdf5.numeric(group, name)
                else:
                    self._counts.left_out.add(f"infos/{name}")
        return columns

    def info(self) -> DatasetInfo:
        """Return the description; a D4RL file does not say where it was collected."""
        return DatasetInfo(
            environment="",
            action=self._range.field("The environment's action."),
            origin={"format": "d4rl", "path": str(self._path), **self._counts.as_json()},
        )

    def videos(self) -> dict[str, dict[str, Any]]:
        """Return nothing: the format has no videos."""
        return {}
