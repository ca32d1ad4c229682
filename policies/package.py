"""The policy package: ``policy.safetensors`` + ``policy.json``, all that a robot needs of a run.

The weights are read without torch and run in NumPy: a small MLP takes microseconds, and the process
beside a robot stays light. Normalisation is part of the package. Nothing is unpickled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load
from safetensors.numpy import save as to_bytes

from embodied.engine.data import Normaliser
from embodied.errors import UserError
from embodied.files import atomic_path, read_json, sha256_file, write_json
from policies.heads import (
    ACTIVATIONS,
    FREE_LOG_STD,
    check_names,
    outputs_per_action,
    unit_action,
)

SCHEMA_VERSION = 2
BEFORE_HEADS = {"head": "gaussian", "activation": "relu"}  # what version 1 left unsaid
KEYS = (
    "schema_version",
    "algorithm",
    "head",
    "activation",
    "weights_sha256",
    "observation_size",
    "action_size",
    "hidden",
    "normalisation",
    "action",
    "control_hz",
    "environment",
    "seed",
    "steps",
    "data",
    "reward",
    "instruction",
)
ACTION_KEYS = ("unit", "low", "high")
FloatArray = npt.NDArray[np.float32]


class PackagedPolicy:
    """An MLP policy with the signature of stable-baselines3's ``predict``.

    Args:
        weights: ``actor.<i>.weight`` [in, out], ``actor.<i>.bias`` [out] and, for the heads that
            have one, ``actor.log_std`` [A].
        description: ``KEYS`` without the file's own; of it, ``head`` and ``activation``
            (``policies.heads``), the sizes, ``normalisation`` (``mean`` and ``std`` [O]) and
            ``action`` (``low`` and ``high`` [A], in its units) are used here.
        seed: Seeds the samples that ``deterministic=False`` draws.

    Raises:
        ValueError: Weights, sizes and normalisation do not fit together, or a number is not finite.
    """

    def __init__(
        self, weights: Mapping[str, FloatArray], description: Mapping[str, Any], seed: int = 0
    ) -> None:
        self.weights, self.description = dict(weights), dict(description)
        check_names(description)
        self._head, self._activation = description["head"], ACTIVATIONS[description["activation"]]
        numbers = {**description["normalisation"], **description["action"]}
        self._mean, self._std, self._low, self._high = (
            np.asarray(numbers[key], np.float32) for key in ("mean", "std", "low", "high")
        )
        self._layers: list[tuple[FloatArray, FloatArray]] = []
        while f"actor.{len(self._layers)}.weight" in weights:
            name = f"actor.{len(self._layers)}"
            self._layers.append((weights[f"{name}.weight"], weights[f"{name}.bias"]))
        self._log_std = weights["actor.log_std"] if self._head in FREE_LOG_STD else None
        self._check()
        self._rng = np.random.default_rng(seed)

    def _check(self) -> None:
        """Raise ValueError unless every number fits the others: what is loaded is not trusted."""
        arrays = [self._mean, self._std, self._low, self._high, *self.weights.values()]
        if any(item.dtype != np.float32 or not np.isfinite(item).all() for item in arrays):
            raise ValueError("a number that is no finite float32")
        sizes = [len(self._mean)]
        for weight, bias in self._layers:
            if weight.ndim != 2 or weight.shape != (sizes[-1], *bias.shape):
                raise ValueError(f"a layer of shape {weight.shape} after {sizes[-1]} inputs")
            sizes.append(len(bias))
        vectors = [self._low, self._high, *([] if self._log_std is None else [self._log_std])]
        action_size, rest = divmod(sizes[-1], outputs_per_action(self._head))
        if len(sizes) < 2 or rest or any(item.shape != (action_size,) for item in vectors):
            raise ValueError("the last layer does not fit the action")
        if self._std.shape != (sizes[0],) or self._mean.shape != (sizes[0],):
            raise ValueError("the normalisation does not fit the observation")
        if (self._std <= 0.0).any() or (self._low >= self._high).any():
            raise ValueError("a standard deviation or an action range that is not positive")
        keys = ("observation_size", "action_size", "hidden")
        if [self.description[key] for key in keys] != [sizes[0], action_size, sizes[1:-1]]:
            raise ValueError(f"the layers have sizes {sizes}, the description says otherwise")

    def predict(
        self,
        observation: npt.ArrayLike,
        state: tuple[Any, ...] | None = None,
        episode_start: npt.ArrayLike | None = None,
        deterministic: bool = False,
    ) -> tuple[FloatArray, tuple[Any, ...] | None]:
        """Return actions in the action's own units for ``[O]`` or ``[N, O]`` observations."""
        x = np.asarray(observation, np.float32)
        if x.ndim not in (1, 2) or x.shape[-1] != len(self._mean):
            raise UserError(
                f"the policy reads observations of size {len(self._mean)}, not {x.shape[-1:]}; "
                "use the environment that it was trained for"
            )
        x = (x - self._mean) / self._std
        for weight, bias in self._layers[:-1]:
            x = self._activation(x @ weight + bias)
        weight, bias = self._layers[-1]
        shape, noise = (*x.shape[:-1], len(self._low)), None
        if not deterministic:
            noise = self._rng.standard_normal(shape, np.float32)
        action = unit_action(self._head, x @ weight + bias, self._log_std, noise)
        scaled = self._low + (action + 1.0) * 0.5 * (self._high - self._low)
        # Rounding alone can leave the range by one unit in the last place.
        return np.clip(scaled, self._low, self._high, dtype=np.float32), state


def make(
    actor: Mapping[str, FloatArray], normaliser: Normaliser, description: Mapping[str, Any]
) -> PackagedPolicy:
    """Return the policy of one actor (biases and log-std may be ``[1, ...]``) of a learner.

    ``description`` may name ``head`` and ``activation``; by default a ReLU network with a Gaussian.

    Raises:
        ValueError: See ``PackagedPolicy``; a learner that diverged has weights that are not finite.
    """
    description = {**BEFORE_HEADS, **description}
    weights = {
        key: np.ascontiguousarray(value if key.endswith("weight") else value.ravel())
        for key, value in actor.items()
    }
    layers = [value for key, value in weights.items() if key.endswith("weight")]
    action = {
        **description.get("action", {}),
        "low": normaliser.low.tolist(),
        "high": normaliser.high.tolist(),
    }
    return PackagedPolicy(
        weights,
        {
            **description,
            "observation_size": layers[0].shape[0],
            "action_size": len(action["low"]),
            "hidden": [value.shape[1] for value in layers[:-1]],
            "normalisation": {"mean": normaliser.mean.tolist(), "std": normaliser.std.tolist()},
            "action": action,
        },
    )


def save(folder: Path, policy: PackagedPolicy) -> None:
    """Write a policy package; the folder appears whole."""
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        path = temporary / "policy.safetensors"
        path.write_bytes(to_bytes(policy.weights))
        own = {"schema_version": SCHEMA_VERSION, "weights_sha256": sha256_file(path)}
        write_json(temporary / "policy.json", {**policy.description, **own})


def load_package(folder: Path, seed: int = 0) -> PackagedPolicy:
    """Read a policy package.

    Raises:
        UserError: A file is missing, of another version, or does not fit its description.
    """
    folder = Path(folder)
    version = read_json(folder / "policy.json", ("schema_version",))["schema_version"]
    if version not in (1, SCHEMA_VERSION):
        raise UserError(
            f"{folder} has policy version {version!r}, this program reads 1 and {SCHEMA_VERSION}; "
            "train it again"
        )
    unsaid = BEFORE_HEADS if version == 1 else {}
    description = read_json(folder / "policy.json", [key for key in KEYS if key not in unsaid])
    description |= unsaid
    _check_types(folder, description)
    path = folder / "policy.safetensors"
    if not path.is_file() or sha256_file(path) != description["weights_sha256"]:
        raise UserError(f"{path} is missing or not the file that policy.json names; train again")
    try:
        return PackagedPolicy(load(path.read_bytes()), description, seed)
    except (SafetensorError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{folder} is damaged ({error}); train the policy again") from None


def _check_types(folder: Path, description: Mapping[str, Any]) -> None:
    """Raise UserError unless what others read of a description is of the type that they expect."""
    action, rate = description["action"], description["control_hz"]
    problem = ""
    if not isinstance(description["environment"], Mapping):
        problem = "environment is no object"
    elif not isinstance(action, Mapping):
        problem = "action is no object"
    elif lacking := [key for key in ACTION_KEYS if key not in action]:
        problem = f"action lacks {', '.join(lacking)}"
    elif type(rate) not in (int, float) or not 0.0 <= rate < math.inf:
        problem = f"control_hz is {rate!r} and must be a number from 0"
    if problem:
        raise UserError(f"{folder} is damaged ({problem}); train the policy again")
