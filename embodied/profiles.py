"""Performance profiles, probability of improvement and stratified intervals of score matrices.

Source: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice".
A score matrix is ``[R, M]``: ``R`` training runs (seeds) on each of ``M`` tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def performance_profile(scores: npt.ArrayLike, thresholds: npt.ArrayLike) -> Floats:
    """Return the fraction of all scores above each threshold, ``[T]``: the score distribution."""
    ordered = np.sort(np.asarray(scores, np.float64), axis=None)
    below = np.searchsorted(ordered, np.asarray(thresholds, np.float64), side="right")
    return np.asarray(1.0 - below / len(ordered), np.float64)


def optimality_gap(scores: npt.ArrayLike, target: float) -> float:
    """Return by how much scores fall short of ``target`` on average; more than it is no credit."""
    return target - float(np.minimum(np.asarray(scores, np.float64), target).mean())


def probability_of_improvement(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Return the probability that a run of the first agent beats one of the second, over tasks.

    For one task it is Mann and Whitney's statistic divided by the number of pairs, so a tie counts
    half; the tasks' probabilities are averaged.

    Args:
        first: ``[R1, M]`` scores.
        second: ``[R2, M]`` scores on the same tasks.
    """
    gap = np.asarray(first, np.float64)[:, None] - np.asarray(second, np.float64)[None]
    return float((0.5 + 0.5 * np.sign(gap)).mean())


def stratified_interval(
    statistic: Callable[..., Any],
    *scores: npt.ArrayLike,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[Any, Any]:
    """Return the percentile interval of a statistic, resampling the runs within each task.

    Tasks are kept: the interval says how far the statistic could move with other training seeds on
    the same tasks.

    Args:
        statistic: Takes as many score matrices as are given; returns a number or an array.
        *scores: ``[R, M]`` each, resampled independently of one another.
        resamples: Bootstrap samples.
        level: Of the interval.
        seed: Of the resampling.

    Returns:
        The low and the high end, each shaped like what ``statistic`` returns.
    """
    rng = np.random.default_rng(seed)
    matrices = [np.asarray(item, np.float64) for item in scores]
    drawn = [
        statistic(*(np.take_along_axis(m, rng.integers(0, len(m), m.shape), 0) for m in matrices))
        for _ in range(resamples)
    ]
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(np.asarray(drawn, np.float64), [tail, 100.0 - tail], axis=0)
    return low, high
