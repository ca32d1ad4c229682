"""What is trained beside each other: the policy and its controls, stacked by algorithm.

An *arm* is one row of the result table. Arms of one algorithm share a learner: with ``S`` training
seeds and ``G`` arms the learner stacks ``G * S`` networks, arm-major, and arms of the same seed see
the same minibatches, so they differ in their reward alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from embodied import checkpoints
from embodied.config import build
from embodied.dataset import Dataset
from embodied.engine.data import Normaliser, OfflineData, Source, standardise
from embodied.errors import UserError
from embodied.registry import resolve
from embodied.runs import RunFolder

FloatArray = npt.NDArray[np.float32]


@dataclass
class Group:
    """The arms of one algorithm and their stacked learner."""

    algorithm: str
    arms: tuple[str, ...]
    learner: Any
    data: OfflineData
    normalisers: list[Normaliser]  # one per dataset

    def per_arm(self, metrics: Mapping[str, Any], seeds: int) -> dict[str, list[float]]:
        """Split metrics [G * S] into ``<arm>/<metric>`` with one number per seed."""
        return {
            f"{arm}/{key}": [float(item) for item in value[i * seeds : (i + 1) * seeds]]
            for key, value in metrics.items()
            for i, arm in enumerate(self.arms)
        }

    def policies(self, seeds: Sequence[int]) -> list[tuple[str, int, Any]]:
        """Return (arm, training seed, policy) for every network, as a package in memory."""
        make = resolve("package", "make")
        stacked = {key: value.numpy() for key, value in self.learner.actor_weights().items()}
        return [
            (
                arm,
                seed,
                make(
                    {key: value[i * len(seeds) + j] for key, value in stacked.items()},
                    self.normalisers[j % len(self.normalisers)],
                    {"algorithm": self.algorithm, "arm": arm, "seed": seed},
                ),
            )
            for i, arm in enumerate(self.arms)
            for j, seed in enumerate(seeds)
        ]


def reward_columns(
    datasets: Sequence[Dataset], labels: Sequence[FloatArray], *, controls: bool, scaled: bool
) -> dict[str, list[FloatArray]]:
    """Return the reward of every arm on every dataset: ``policy`` and the reward controls."""
    columns = {"policy": list(labels)}
    if controls:
        columns["constant_reward"] = [np.ones(len(item), np.float32) for item in datasets]
        true = [item.true_reward() for item in datasets]
        if all(item is not None for item in true):
            columns["true_reward"] = [item for item in true if item is not None]
    if scaled:
        shifts = [not item.column("terminated").any() for item in datasets]
        columns = {
            arm: [standardise(item, shift=shift) for item, shift in zip(items, shifts, strict=True)]
            for arm, items in columns.items()
        }
    return columns


def make_groups(
    policy: Mapping[str, Any],
    datasets: Sequence[Dataset],
    rewards: Mapping[str, Sequence[FloatArray]],
    *,
    controls: bool,
    seeds: Sequence[int],
    steps: int,
    device: str,
) -> list[Group]:
    """Build the learners of the policy and its controls."""
    low, high = action_bounds(datasets[0])
    sources = [
        Source(
            observation=np.asarray(item.column("observation")),
            action=np.asarray(item.column("action")),
            row=item.rows,
            terminated=np.asarray(item.column("terminated")),
        )
        for item in datasets
    ]
    normalisers = [Normaliser.fit(source, low, high) for source in sources]
    name = str(policy.get("name"))
    config = algorithm_config(name, {key: item for key, item in policy.items() if key != "name"})
    plan = {name: (config, tuple(rewards) if name != "bc" else ("policy",))}
    if controls and name != "bc":
        shared = {item.name for item in dataclasses.fields(resolve("policy", "bc").Config)}
        values = {key: item for key, item in vars(config).items() if key in shared}
        plan["bc"] = (algorithm_config("bc", values), ("bc",))
    groups = []
    for algorithm, (settings, arms) in plan.items():
        learners = [
            (where, rewards[arm if arm in rewards else "policy"][where])
            for arm in arms
            for where in (j % len(datasets) for j in range(len(seeds)))
        ]
        data = OfflineData(sources, normalisers, learners, device)
        learner = resolve("policy", algorithm)(
            settings,
            observation_size=sources[0].observation.shape[1],
            action_size=sources[0].action.shape[1],
            seeds=list(seeds) * len(arms),
            total_steps=steps,
            device=device,
        )
        groups.append(Group(algorithm, arms, learner, data, normalisers))
    return groups


def algorithm_config(name: str, values: Mapping[str, Any]) -> Any:
    """Return an algorithm's typed config.

    Raises:
        UserError: An unknown key, or a number outside its range.
    """
    config = build(resolve("policy", name).Config, values, "policy")
    for key in ("learning_rate", "batch_size", "polyak", "weight_clip"):
        if getattr(config, key, 1) <= 0:
            raise UserError(f"policy.{key} is {getattr(config, key)}; it must be positive")
    if min(getattr(config, "hidden", ()), default=1) < 1:
        raise UserError(f"policy.hidden is {list(config.hidden)}; every width must be positive")
    for key in ("discount", "expectile"):
        if not 0.0 <= getattr(config, key, 0.5) <= 1.0:
            raise UserError(f"policy.{key} is {getattr(config, key)}; it must be between 0 and 1")
    return config


def action_bounds(dataset: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the bounds of the dataset's action, in its own units."""
    action = dataset.info.action
    if (
        action.low is None
        or action.high is None
        or not np.isfinite([action.low, action.high]).all()
        or not np.less(action.low, action.high).all()
    ):
        raise UserError(
            f"{dataset.folder} declares no finite action range, low below high; policies need one"
        )
    return action.low, action.high


def save(run: RunFolder, step: int, groups: list[Group], wall_s: float) -> None:
    """Write a checkpoint of every group."""
    state = {"wall_s": torch.tensor(wall_s, dtype=torch.float64)}
    for group in groups:
        for key, value in group.learner.state_dict().items():
            state[f"{group.algorithm}/{key}"] = value.cpu()
    checkpoints.save(run.path / "checkpoints", step, state)


def restore(run: RunFolder, groups: list[Group]) -> tuple[int, float]:
    """Load the newest checkpoint; return its step and the seconds of training until then."""
    found = checkpoints.load_newest(run.path / "checkpoints")
    if found is None:
        return 0, 0.0
    step, state = found
    try:
        for group in groups:
            prefix = f"{group.algorithm}/"
            group.learner.load_state_dict(
                {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            )
        return step, float(state["wall_s"])
    except (KeyError, ValueError, RuntimeError):
        raise UserError(
            f"the newest checkpoint of {run.path} does not fit its config.yaml; put the config "
            "back as it was, or train again"
        ) from None
