"""What the learners by stable-baselines3 share: the loop, and weights as packages name them.

stable-baselines3's own checkpoints are pickles: none is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from embodied.errors import UserError

FloatArray = npt.NDArray[np.float32]
# on_step(environment steps so far, (return, success or None) of episodes that ended) -> go on
OnStep = Callable[[int, list[tuple[float, bool | None]]], bool]


def require_stable_baselines3() -> None:
    """Raise UserError where stable-baselines3 is not installed."""
    try:
        import stable_baselines3  # noqa: F401
    except ImportError:
        raise UserError(
            "stable-baselines3 is not installed: pip install 'embodied-stack[sb3]'"
        ) from None


PARTS = ("weight", "bias")


def learn(model: Any, env: Any, steps: int, on_step: OnStep) -> int:
    """Let stable-baselines3's ``model`` learn on ``env``; return the environment steps taken."""
    from stable_baselines3.common.logger import Logger

    def after(local: Any, other: Any) -> bool:
        finished = list(env.finished)
        env.finished.clear()
        return on_step(model.num_timesteps, finished)

    model.set_logger(Logger(folder=None, output_formats=[]))
    model.learn(steps, callback=after)
    return int(model.num_timesteps)


def linear_weights(hidden: Iterable[Any], last: list[torch.Tensor]) -> dict[str, FloatArray]:
    """Return ``actor.<i>.weight`` [in, out] and ``actor.<i>.bias`` of linear layers in a row."""
    layers = [
        [getattr(item, key) for key in PARTS]
        for item in hidden
        if isinstance(item, torch.nn.Linear)
    ]
    found = {}
    for index, (weight, bias) in enumerate([*layers, last]):
        found[f"actor.{index}.weight"] = numbers(weight.T)
        found[f"actor.{index}.bias"] = numbers(bias)
    return found


def numbers(values: torch.Tensor) -> FloatArray:
    """Return a copy as float32 in rows, on the CPU."""
    return np.array(values.detach().cpu().numpy(), np.float32, order="C")
