"""Means, inter-quartile means and bootstrap intervals over seeds and episodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_DRAWS = 2**22  # numbers drawn at once: a dataset may have a million episodes
Outcomes = Sequence[npt.NDArray[np.floating[Any]]]  # one array of episode values per training seed


def iqm(values: npt.ArrayLike) -> float:
    """Return the inter-quartile mean: the mean of the middle half (Agarwal et al. 2021)."""
    ordered = np.sort(np.asarray(values, np.float64), axis=None)
    cut = int(0.25 * len(ordered))
    return float(ordered[cut : len(ordered) - cut].mean())


def bootstrap_interval(
    outcomes: Outcomes, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile interval of the mean over seeds of each seed's mean over episodes.

    Training seeds are resampled, then the episodes within each, so the interval holds the spread of
    training as well as that of evaluation. With one seed it is the episodes' alone.
    """
    rng = np.random.default_rng(seed)
    arrays = [np.asarray(item, np.float64) for item in outcomes]
    drawn = rng.integers(0, len(arrays), (len(arrays), resamples))
    estimates = np.zeros(resamples)
    for slot in drawn:
        # Fresh episodes for every slot: a seed that is drawn twice brings two resampled means.
        means = [_resampled_means(values, resamples, rng) for values in arrays]
        estimates += np.stack(means)[slot, np.arange(resamples)]
    estimates /= len(arrays)
    tail = 100.0 * (1.0 - level) / 2.0
    low, high = np.percentile(estimates, [tail, 100.0 - tail])
    return float(low), float(high)


def _resampled_means(
    values: npt.NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return the means of samples drawn with replacement, a bounded number of draws at a time."""
    rows = max(1, MAX_DRAWS // len(values))
    counts = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    return np.concatenate(
        [values[rng.integers(0, len(values), (n, len(values)))].mean(1) for n in counts]
    )


def summary(outcomes: Outcomes, *, with_iqm: bool = False) -> dict[str, Any]:
    """Return ``mean``, ``ci95`` and ``per_seed`` (and ``iqm``) as JSON values."""
    per_seed = [float(np.mean(item)) for item in outcomes]
    result: dict[str, Any] = {"mean": float(np.mean(per_seed))}
    if with_iqm:
        result["iqm"] = iqm(np.concatenate([np.asarray(item, np.float64) for item in outcomes]))
    return result | {"ci95": list(bootstrap_interval(outcomes)), "per_seed": per_seed}
