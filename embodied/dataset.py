"""The native dataset: a folder with one ``.npy`` per column and ``dataset.json``.

An episode of ``T`` transitions has ``T + 1`` rows of what is observed (``observation`` and the
named ``state`` fields) and ``T`` entries of what belongs to a transition (``action``,
``terminated``, ``truncated`` and further columns such as ``success``). Transition ``t`` of episode
``e`` lies between the rows ``t + e`` and ``t + e + 1``, so that no sample ever crosses an episode.
Columns are memory-mapped: opening costs nothing and reading touches only what is asked for. Images
are state fields, uint8 ``[T + 1, H, W, C]``; frames of videos are decoded when they are read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embodied.dataset_json import (
    COLUMN_NAME,
    SCHEMA_VERSION,
    entries_from_json,
    info_from_json,
    lengths_from_json,
)
from embodied.errors import UserError
from embodied.files import read_json, sha256_file
from embodied.types import Array, Field, LazyColumns, Transitions

STATE, EXTRA = "state.", "column."  # prefixes of the named fields and of the further columns


@dataclass(frozen=True)
class Episode:
    """One episode: ``observation`` [T+1, O], ``action`` [T, A] and the columns beside them."""

    observation: Array
    action: Array
    terminated: bool  # a true terminal state at the end, not a time limit
    state: Mapping[str, Array] = field(default_factory=dict)  # [T+1, *shape]
    columns: Mapping[str, Array] = field(default_factory=dict)  # [T, ...]


@dataclass(frozen=True)
class FieldSlice:
    """A state field that is a part of the observation vector."""

    slice: tuple[int, ...]  # first element, and the one after the last
    unit: str = "unknown"  # SI unit, "1" when it has none
    frame: str = ""  # coordinate frame, "" where none applies
    meaning: str = "A part of the observation."  # one sentence


class Dataset:
    """A native dataset opened for reading.

    Raises:
        UserError: The folder is missing, of another version, or a column is missing or truncated.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "dataset.json").is_file():
            raise UserError(
                f"{self.folder} is not a dataset folder (no dataset.json); "
                "check the path or make one with `embodied collect`"
            )
        keys = ("schema_version", "info", "episode_lengths", "columns")
        description = read_json(self.folder / "dataset.json", keys)
        if description["schema_version"] != SCHEMA_VERSION:
            raise UserError(
                f"{self.folder} has dataset version {description['schema_version']}, this program "
                f"reads version {SCHEMA_VERSION}; collect it again"
            )
        self.info = info_from_json(description["info"])
        self.episode_lengths = lengths_from_json(description["episode_lengths"])
        entries = entries_from_json(description["columns"])
        self._columns = {name: self._open(name, entry) for name, entry in entries.items()}
        for name in ("observation", "action", "terminated", "truncated"):
            if name not in self._columns:
                raise UserError(f"{self.folder} lacks the column {name}; collect it again")
        if self.info.action.shape != self._columns["action"].shape[1:]:
            raise UserError(
                f"{self.folder} describes an action of shape {list(self.info.action.shape)} and "
                f"holds {list(self._columns['action'].shape[1:])}; collect it again"
            )

    def _open(self, name: str, entry: Mapping[str, Any]) -> Array:
        if "video" in entry:
            from embodied.formats.video_column import open_video_column

            return open_video_column(name, entry, self.episode_lengths, self.folder)
        path = self.folder / f"{name}.npy"
        rows = len(self) + (self.num_episodes if entry["per"] == "row" else 0)
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception:  # NumPy's reader of headers lets through whatever its parser raises
            raise UserError(f"{path} is missing or truncated; collect the dataset again") from None
        if array.shape != (rows, *entry["shape"]) or array.dtype.str != entry["dtype"]:
            raise UserError(
                f"{path} holds {array.dtype.str}{list(array.shape)} where dataset.json says "
                f"{entry['dtype']}{[rows, *entry['shape']]}; collect the dataset again"
            )
        return array

    def __len__(self) -> int:
        return int(self.episode_lengths.sum())

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return len(self.episode_lengths)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of ``dataset.json``, which itself holds the hash of every column."""
        return sha256_file(self.folder / "dataset.json")

    @cached_property
    def episode_starts(self) -> npt.NDArray[np.int64]:
        """Index of the first transition of every episode, int64 [episodes]."""
        return np.concatenate([[0], np.cumsum(self.episode_lengths)[:-1]]).astype(np.int64)

    def rows(self, index: npt.NDArray[np.int64] | slice) -> npt.NDArray[np.int64]:
        """Return the row of ``s_t`` of the transitions at ``index``; ``s_{t+1}`` is the next."""
        at = np.arange(*index.indices(len(self))) if isinstance(index, slice) else index
        # Every episode before this one has one row more than it has transitions.
        return at + np.searchsorted(self.episode_starts, at, side="right") - 1

    @property
    def column_names(self) -> list[str]:
        """Every stored column, with its prefix."""
        return sorted(self._columns)

    def column(self, name: str) -> Array:
        """Return a memory-mapped column by its stored name."""
        if name not in self._columns:
            raise UserError(
                f"{self.folder} has no column {name!r}; it has {', '.join(self.column_names)}"
            )
        return self._columns[name]

    def has(self, name: str) -> bool:
        """Return whether a column of that stored name exists."""
        return name in self._columns

    def with_fields(self, fields: Mapping[str, FieldSlice]) -> Dataset:
        """Return the same dataset with further state fields, each a part of its observation.

        Raises:
            UserError: A name that is taken or malformed, or a slice outside the observation.
        """
        observation = self.column("observation")
        columns, described = dict(self._columns), dict(self.info.fields)
        for name, item in fields.items():
            stored, size = f"{STATE}{name}", observation.shape[1]
            if stored in columns or not COLUMN_NAME.fullmatch(name):
                raise UserError(f"{self.folder} cannot name a field {name!r}; choose another name")
            if len(item.slice) != 2 or not 0 <= item.slice[0] < item.slice[1] <= size:
                raise UserError(
                    f"field {name}: slice {list(item.slice)} is not within the {size} elements of "
                    f"the observation of {self.folder}; give [first, one after the last]"
                )
            columns[stored] = observation[:, slice(*item.slice)]
            described[name] = Field(columns[stored].shape[1:], item.unit, item.meaning, item.frame)
        named = copy.copy(self)
        named._columns, named.info = columns, replace(self.info, fields=described)
        return named

    def transitions(self, index: npt.NDArray[np.int64] | slice) -> Transitions:
        """Return the transitions at ``index``; named fields and columns are read when used.

        Floating-point observations, actions and fields come as float32, whatever is stored.
        """
        rows = self.rows(index)

        def gather(name: str, at: Any) -> Array:
            values = np.asarray(self._columns[name][at])
            single = values.dtype.kind == "f" and not name.startswith(EXTRA)
            return values.astype(np.float32, copy=False) if single else values

        def named(prefix: str, at: Any) -> LazyColumns:
            return LazyColumns(
                {
                    name.removeprefix(prefix): partial(gather, name, at)
                    for name in self._columns
                    if name.startswith(prefix)
                }
            )

        return Transitions(
            observation=gather("observation", rows),
            action=gather("action", index),
            next_observation=gather("observation", rows + 1),
            terminated=gather("terminated", index),
            truncated=gather("truncated", index),
            state=named(STATE, rows),
            next_state=named(STATE, rows + 1),
            columns=named(EXTRA, index),
        )

    def chunks(self, size: int = 65_536) -> Iterator[slice]:
        """Yield consecutive slices of transitions of at most ``size``."""
        for start in range(0, len(self), size):
            yield slice(start, min(start + size, len(self)))

    def episode(self, index: int) -> Episode:
        """Return one episode as arrays; its state fields are read when used."""
        start, length = int(self.episode_starts[index]), int(self.episode_lengths[index])
        here, rows = slice(start, start + length), slice(start + index, start + index + length + 1)
        return Episode(
            observation=np.asarray(self._columns["observation"][rows]),
            action=np.asarray(self._columns["action"][here]),
            terminated=bool(self._columns["terminated"][start + length - 1]),
            state=LazyColumns(
                {
                    name.removeprefix(STATE): partial(_read, column, rows)
                    for name, column in self._columns.items()
                    if name.startswith(STATE)
                }
            ),
            columns={
                name.removeprefix(EXTRA): np.asarray(column[here])
                for name, column in self._columns.items()
                if name.startswith(EXTRA)
            },
        )

    def episode_ends(self, name: str) -> Array:
        """Return a per-transition column at the last transition of every episode."""
        return self.column(name)[self.episode_starts + self.episode_lengths - 1]

    def true_reward(self) -> Array | None:
        """Return the reward of the true-reward control [N]: success, or the environment's own.

        It is the stored column, truth values or numbers, and not a copy.
        """
        for name in ("success", "environment_reward"):
            if self.has(f"{EXTRA}{name}"):
                return self.column(f"{EXTRA}{name}")
        return None

    def episode_returns(self) -> npt.NDArray[np.float64] | None:
        """Return the sum of the environment's own reward over every episode, or None if unknown.

        Where only success was recorded, as on a robot, that is the reward.
        """
        name = f"{EXTRA}environment_reward"
        reward = self.column(name) if self.has(name) else self.true_reward()
        if reward is None:
            return None
        edges = np.append(self.episode_starts, len(self))
        parts = range(0, self.num_episodes, 256)  # episodes at a time: the column may be large
        sums = [
            np.add.reduceat(
                np.asarray(reward[edges[i] : edges[min(i + 256, self.num_episodes)]], np.float64),
                self.episode_starts[i : i + 256] - edges[i],
            )
            for i in parts
        ]
        return np.concatenate(sums)

    def check_finite(self, names: Iterable[str] = ("observation", "action")) -> None:
        """Stop at the first non-finite value of the named columns, saying where it is."""
        for name in names:
            column = self.column(name)
            for start in range(0, len(column), 65_536):
                block = np.asarray(column[start : start + 65_536])
                if not np.isfinite(block).all():
                    bad = start + int(np.argwhere(~np.isfinite(block))[0][0])
                    raise UserError(
                        f"{self.folder}: {name} has NaN or infinity at row {bad}; "
                        "remove that episode with `embodied data filter` or collect it again"
                    )


def _read(column: Array, rows: slice) -> Array:
    return np.asarray(column[rows])
