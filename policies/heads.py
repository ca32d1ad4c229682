"""What becomes of an actor's last layer: activations of the hidden layers and action heads.

Every head gives an action in the unit box [-1, 1]; the policy package scales it to the action's own
range. With ``m`` the mean, ``s`` the log-std, and ``e`` standard normal noise or, for deterministic
actions, 0:

- ``gaussian`` (IQL, BC): ``clip(tanh(m) + exp(s) e)``, ``s`` free of the observation.
- ``squashed`` (CQL, SAC): ``tanh(m + exp(s) e)``, the last layer gives first ``m``, then ``s``.
- ``deterministic`` (TD3+BC): ``tanh(m)``.
- ``clipped`` (PPO): ``clip(m + exp(s) e)``, ``s`` free of the observation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def relu(x: FloatArray) -> FloatArray:
    """Return ``max(x, 0)``."""
    return np.maximum(x, np.float32(0.0))


ACTIVATIONS: Mapping[str, Callable[[FloatArray], FloatArray]] = {"relu": relu, "tanh": np.tanh}
# Range of the log-std: of gaussian as in policies.actor, of squashed as in stable-baselines3.
LOG_STD_RANGE = {
    "gaussian": (-5.0, 2.0),
    "squashed": (-20.0, 2.0),
    "deterministic": None,
    "clipped": (-20.0, 2.0),
}
FREE_LOG_STD = ("gaussian", "clipped")  # those with weights ``actor.log_std`` [A]


def outputs_per_action(head: str) -> int:
    """Return how many outputs of the last layer an element of the action has."""
    return 2 if head == "squashed" else 1


def unit_action(
    head: str, output: FloatArray, log_std: FloatArray | None, noise: FloatArray | None
) -> FloatArray:
    """Return actions ``[..., A]`` in [-1, 1].

    Args:
        head: One of ``LOG_STD_RANGE``.
        output: The last layer's, ``[..., A]``, of ``squashed`` ``[..., 2 A]``.
        log_std: ``[A]`` for heads in ``FREE_LOG_STD``.
        noise: Standard normal ``[..., A]``; None for the deterministic action.
    """
    limits = LOG_STD_RANGE[head]
    if head == "squashed":
        output, log_std = np.split(output, 2, axis=-1)
    mean = np.tanh(output) if head in ("gaussian", "deterministic") else output
    if noise is not None and limits is not None and log_std is not None:
        mean = mean + np.exp(np.clip(log_std, *limits)) * noise
    return np.tanh(mean) if head == "squashed" else np.clip(mean, -1.0, 1.0)


def check_names(description: Mapping[str, Any]) -> None:
    """Raise ValueError unless ``head`` and ``activation`` are known ones."""
    for key, known in (("head", LOG_STD_RANGE), ("activation", ACTIVATIONS)):
        if not isinstance(description[key], str) or description[key] not in known:
            raise ValueError(f"{key} is {description[key]!r}, known are {', '.join(known)}")
