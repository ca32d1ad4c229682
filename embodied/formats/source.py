"""What every reader of a foreign format shares: the protocol, limits, counts and small helpers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from embodied.dataset import Episode
from embodied.dataset_json import DatasetInfo
from embodied.errors import UserError
from embodied.types import Array, Field

EPISODE_BYTES = 2**30  # the most that one episode may take in memory
NUMBERS = "biuf"  # kinds of NumPy's types that a column may have
T = TypeVar("T")


class Source(Protocol):
    """A foreign dataset that is read once, episode by episode."""

    def episodes(self) -> Iterator[Episode]:
        """Yield every episode; at most one is held in memory.

        Raises:
            UserError: The files are damaged, hostile or of a kind that is not read.
        """
        ...

    def info(self) -> DatasetInfo:
        """Return the description, complete once every episode was read."""
        ...

    def videos(self) -> dict[str, dict[str, Any]]:
        """Return the video columns by stored name, complete once every episode was read."""
        ...


@dataclass
class Counts:
    """What became of the episodes of a foreign file; kept in the dataset's ``origin``."""

    terminated: int = 0  # episodes that ended in a terminal state
    truncated: int = 0  # episodes that a time limit ended
    cut: int = 0  # episodes that stop without terminal or time limit; bootstrapped like those
    stand_in: int = 0  # last observations that were not recorded and repeat the one before
    dropped_last: int = 0  # last actions left out because what followed them was not recorded
    left_out: set[str] = field(default_factory=set)  # columns that hold neither numbers nor images

    def as_json(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return asdict(self) | {"left_out": sorted(self.left_out)}


class ActionRange:
    """Smallest and largest value of every element of the actions seen."""

    def __init__(self) -> None:
        self._low: Array = None
        self._high: Array = None

    def add(self, action: Array) -> None:
        """Take the actions [T, A] of an episode."""
        low, high = np.fmin.reduce(action, 0), np.fmax.reduce(action, 0)
        self._low = low if self._low is None else np.fmin(self._low, low)
        self._high = high if self._high is None else np.fmax(self._high, high)

    def within(self, low: float, high: float) -> bool:
        """Return whether every value lies between the two."""
        return bool((self._low >= low).all() and (self._high <= high).all())

    def field(self, meaning: str) -> Field:
        """Return the action's documentation with the range seen as its bounds."""
        low, high = np.float64(self._low), np.float64(self._high)
        # Policies scale actions by their range, so a constant one gets a range around it.
        flat = ~(low < high)
        return Field(
            shape=low.shape,
            unit="unknown",
            meaning=f"{meaning} Its bounds are the smallest and largest values in the data.",
            low=tuple(float(item) for item in np.where(flat, low - 1.0, low)),
            high=tuple(float(item) for item in np.where(flat, high + 1.0, high)),
        )


@contextmanager
def told_as_damage(path: Path, kind: str) -> Iterator[None]:
    """Tell whatever a library raises on a damaged or hostile file in one line.

    The libraries behind the formats raise anything from KeyError to their own errors on bytes that
    they do not expect, so every exception within is taken for the file's fault.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise UserError(f"{path} is damaged or not {kind} ({reason}); fetch it again") from error


def check_size(path: Path, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
    """Refuse an array that is larger than an episode may be, before it is read."""
    size = np.dtype(dtype).itemsize
    for length in shape:
        size *= int(length)
    if size > EPISODE_BYTES:
        raise UserError(
            f"{path}: {name} declares {size / 2**30:.1f} GiB for one episode, more than the "
            f"{EPISODE_BYTES / 2**30:.0f} GiB that are read; split the episode"
        )


def stored_name(name: str) -> str:
    """Return a name that a column file may have: ``infos/goal pos`` becomes ``infos.goal_pos``."""
    parts = (re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in re.split(r"[/.]", name) if part)
    return ".".join(parts) or "_"


def stored_names(values: Mapping[str, Array]) -> dict[str, Array]:
    """Return columns under names that their files may have.

    Raises:
        UserError: Two columns would share a name.
    """
    return renamed(values, stored_name)


def renamed(values: Mapping[str, T], new_name: Callable[[str], str]) -> dict[str, T]:
    """Return the values under the names that ``new_name`` gives for theirs.

    Raises:
        UserError: Two of them would share a name.
    """
    old: dict[str, str] = {}
    for key in values:
        name = new_name(key)
        if name in old:
            raise UserError(
                f"columns {old[name]} and {key} would both be called {name}; rename one in the "
                "dataset"
            )
        old[name] = key
    return {name: values[key] for name, key in old.items()}


def native(values: Array) -> Array:
    """Return numbers in this machine's byte order and of at most 8 bytes each."""
    dtype = values.dtype.newbyteorder("=")
    return values.astype(np.float64 if dtype.itemsize > 8 else dtype, copy=False)


def one_per_step(values: Array, name: str) -> Array:
    """Return [T] numbers of an array [T] or [T, 1].

    Raises:
        UserError: It holds several numbers per step.
    """
    if values.size != len(values):
        raise UserError(f"{name} has shape {list(values.shape)}; it must be one number per step")
    return values.reshape(-1)


def describe_fields(episode: Episode, meaning: str) -> dict[str, Field]:
    """Return what is known of an episode's state fields: their shapes."""
    return {
        name: Field(values.shape[1:], "unknown", meaning) for name, values in episode.state.items()
    }
