"""What a reward is made of: how much of it stands still, and which term decides."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from embodied.types import FloatArray

TOLERANCE = 1e-3  # of the range of a quantity: nearer to its end than this counts as at the end


def saturation(values: FloatArray, tolerance: float = TOLERANCE) -> dict[str, float]:
    """Return the share of numbers ``[N]`` at the largest, at the smallest and at either of them.

    All are 1 where all numbers are the same.
    """
    low, high = float(values.min()), float(values.max())
    margin = tolerance * (high - low)
    at_max, at_min = values >= high - margin, values <= low + margin
    return {
        "at_max": float(np.mean(at_max)),
        "at_min": float(np.mean(at_min)),
        "at_either": float(np.mean(at_max | at_min)),
    }


def explained(total: FloatArray, terms: Mapping[str, FloatArray]) -> dict[str, float]:
    """Return per term the share of the total's variance that it explains.

    The share is the covariance of term and total over the variance of the total. The shares sum to
    1 where the total is the sum of its terms; a term that works against the others has a negative
    one. All are 0 where the total is constant.
    """
    centred = total - total.mean()
    variance = float(np.mean(centred**2))
    return {
        name: float(np.mean((values - values.mean()) * centred)) / variance if variance else 0.0
        for name, values in terms.items()
    }
