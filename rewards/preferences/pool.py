"""Where the sides of comparisons come from: a sample of transitions, or segments of a dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from embodied.dataset import Dataset
from embodied.errors import UserError
from embodied.types import Transitions


def sampled(sample: Transitions, count: int, seed: int) -> Transitions:
    """Return up to ``count`` transitions of a sample."""
    rows = np.random.default_rng(seed).permutation(len(sample))[:count]
    return taken(sample, np.sort(rows))


def taken(batch: Transitions, rows: npt.NDArray[np.int64]) -> Transitions:
    """Return the transitions at rows."""

    def part(columns: Any) -> dict[str, Any]:
        return {name: np.asarray(columns[name])[rows] for name in columns}

    names = ("observation", "action", "next_observation", "terminated", "truncated")
    plain = {name: np.asarray(getattr(batch, name))[rows] for name in names}
    maps = ("state", "next_state", "columns")
    return Transitions(**plain, **{name: part(getattr(batch, name)) for name in maps})  # type: ignore[arg-type]


def segment_starts(dataset: Dataset, length: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw the first transitions of up to ``count`` different segments that cross no episode.

    Raises:
        UserError: No episode is that long.
    """
    lengths = dataset.episode_lengths
    within = np.arange(len(dataset)) - np.repeat(dataset.episode_starts, lengths)
    possible = np.flatnonzero(within + length <= np.repeat(lengths, lengths))
    if len(possible) < 2:
        raise UserError(
            f"{dataset.folder} has no two segments of {length} steps; give a smaller segment"
        )
    drawn = np.random.default_rng(seed).permutation(len(possible))[:count]
    return np.asarray(np.sort(possible[drawn]), np.int64)


def segments(dataset: Dataset, starts: npt.NDArray[np.int64], length: int) -> Transitions:
    """Return the transitions of segments, [K * length], side by side."""
    return dataset.transitions((starts[:, None] + np.arange(length)).ravel())
