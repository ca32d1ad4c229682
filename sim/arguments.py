"""What environments and behaviours share: spaces, and the checks of what they are given."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from embodied.errors import UserError
from embodied.types import Array, Field, FloatArray


def declare_spaces(env: VectorEnv, action: Field, width: int, control_hz: float) -> None:
    """Give an environment the spaces and metadata of a documented task.

    Args:
        env: Its ``num_envs`` is set.
        action: Its low and high are the bounds of one control step.
        width: Size of an observation.
        control_hz: Control steps, and so frames, per second.
    """
    low, high = (np.array(item, dtype=np.float32) for item in (action.low, action.high))
    env.single_action_space = gymnasium.spaces.Box(low, high, dtype=np.float32)
    env.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float32)
    env.action_space = batch_space(env.single_action_space, env.num_envs)
    env.observation_space = batch_space(env.single_observation_space, env.num_envs)
    env.render_mode = "rgb_array"
    env.metadata = {
        "render_modes": ["rgb_array"],
        "render_fps": round(control_hz),
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }


def shares_of(**shares: float) -> FloatArray:
    """Return the shares of kinds of episodes as an array.

    Raises:
        UserError: One is negative, or they do not sum to 1.
    """
    values = np.array(list(shares.values()))
    if not (values >= 0).all() or abs(values.sum() - 1) > 1e-6:
        told = ", ".join(f"{name}={value}" for name, value in shares.items())
        raise UserError(f"the shares {told} must be positive and sum to 1")
    return values


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
