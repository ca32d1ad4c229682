"""What a user sets of an algorithm, checked before anything is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from embodied.config import build
from embodied.errors import UserError
from embodied.registry import resolve
from embodied.types import Field

# Hyper-parameters, of whatever algorithm, that must be above zero or between zero and one.
POSITIVE = (
    "learning_rate",
    "actor_learning_rate",
    "batch_size",
    "polyak",
    "weight_clip",
    "critics",
    "samples",
    "huber",
    "max_gradient_norm",
    "target_kl",
)
# ...or at least zero.
NOT_NEGATIVE = (
    "temperature",
    "alpha",
    "target_noise",
    "noise_clip",
    "conservatism",
    "value_weight",
)
SHARES = ("discount", "expectile", "quantile", "polyak")


def over_arms(config: Any, arms: int, seeds: int) -> Any:
    """Repeat hyper-parameters that are listed per training seed for every arm of the stack."""
    listed = {
        key: value * arms
        for key, value in vars(config).items()
        if key != "hidden" and isinstance(value, tuple)
    }
    for key, value in listed.items():
        if len(value) != arms * seeds:
            raise UserError(
                f"policy.{key} lists {len(value) // arms} values for {seeds} seeds; "
                "give one number, or one per seed"
            )
    return dataclasses.replace(config, **listed)


def algorithm_config(name: str, values: Mapping[str, Any]) -> Any:
    """Return an algorithm's typed config.

    Raises:
        UserError: An unknown key, or a number outside its range.
    """
    config = build(resolve("policy", name).Config, values, "policy")

    def smallest_and_largest(key: str, default: float) -> tuple[float, float]:
        value = getattr(config, key, None)
        values = value if isinstance(value, tuple) else (default if value is None else value,)
        return min(values, default=default), max(values, default=default)

    for key in POSITIVE:
        if smallest_and_largest(key, 1)[0] <= 0:
            raise UserError(f"policy.{key} is {getattr(config, key)}; it must be positive")
    for key in NOT_NEGATIVE:
        if smallest_and_largest(key, 0)[0] < 0:
            raise UserError(f"policy.{key} is {getattr(config, key)}; it must be 0 or more")
    if min(getattr(config, "hidden", ()), default=1) < 1:
        raise UserError(f"policy.hidden is {list(config.hidden)}; every width must be positive")
    for key in SHARES:
        low, high = smallest_and_largest(key, 0.5)
        if not 0.0 <= low <= high <= 1.0:
            raise UserError(f"policy.{key} is {getattr(config, key)}; it must be between 0 and 1")
    return config


def action_bounds(action: Field, owner: object) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the bounds of an action, in its own units; ``owner`` is named where it has none."""
    low, high = action.low, action.high
    if (
        low is None
        or high is None
        or not np.isfinite([low, high]).all()
        or not np.less(low, high).all()
    ):
        raise UserError(
            f"{owner} declares no finite action range, low below high; policies need one"
        )
    return low, high
