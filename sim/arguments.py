"""What every environment checks of the seeds and actions that it is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embodied.errors import UserError
from embodied.types import Array


def seeds_of(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    """Return a seed per environment: environment ``i`` gets ``seed + i``, or its own entry.

    Raises:
        UserError: A seed is negative, or their number is not ``num_envs``.
    """
    seeds: list[int | None]
    if seed is None:
        seeds = [None] * num_envs
    elif isinstance(seed, (int, np.integer)):
        seeds = [int(seed) + index for index in range(num_envs)]
    else:
        seeds = [None if value is None else int(value) for value in seed]
    if len(seeds) != num_envs:
        raise UserError(f"got {len(seeds)} seeds for {num_envs} environments")
    for value in seeds:
        if value is not None and value < 0:
            raise UserError(f"the seed {value} is negative; use 0 or more")
    return seeds


def bounded_actions(actions: Array, low: Array, high: Array, num_envs: int) -> Array:
    """Return actions float64 [N, A], clipped to their bounds [A].

    Raises:
        UserError: They have another shape or are not finite.
    """
    actions = np.asarray(actions, dtype=np.float64)
    expected = (num_envs, len(low))
    if actions.shape != expected:
        raise UserError(f"actions have the shape {actions.shape}, expected {expected}")
    if not np.isfinite(actions).all():
        raise UserError(
            "an action is NaN or infinite; check what chose it (a diverged policy gives NaN)"
        )
    return np.minimum(np.maximum(actions, low), high)
