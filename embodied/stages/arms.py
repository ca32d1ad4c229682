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
from embodied.dataset import EXTRA, Dataset
from embodied.engine.data import (
    Normaliser,
    OfflineData,
    RewardColumn,
    Source,
    returns_to_go,
    standardise,
)
from embodied.engine.pairs import ChosenData, PairData
from embodied.engine.stream import StreamedData
from embodied.errors import UserError
from embodied.registry import resolve
from embodied.runs import RunFolder
from embodied.stages.divergence import Divergence
from embodied.stages.settings import action_bounds, algorithm_config, over_arms

FloatArray = npt.NDArray[np.float32]
RESIDENT_SHARE = 0.6  # of the GPU's free memory that datasets may take; larger ones are streamed


@dataclass
class Group:
    """The arms of one algorithm and their stacked learner."""

    algorithm: str
    arms: tuple[str, ...]
    learner: Any
    data: OfflineData | StreamedData | PairData | ChosenData
    normalisers: list[Normaliser]  # one per dataset

    def per_arm(self, metrics: Mapping[str, Any], seeds: int) -> dict[str, list[float]]:
        """Split metrics [G * S] into ``<arm>/<metric>`` with one number per seed."""
        numbers = torch.stack(list(metrics.values())).tolist()  # one copy from the device
        return {
            f"{arm}/{key}": values[i * seeds : (i + 1) * seeds]
            for key, values in zip(metrics, numbers, strict=True)
            for i, arm in enumerate(self.arms)
        }

    def soundness(self, seeds: int) -> dict[str, list[float]]:
        """Return ``<arm>/weights``, NaN for every actor that cannot act and 0 for the others.

        Metrics tell of the weights before the update that they belong to.
        """
        weights = self.learner.actor_weights().values()
        sums = sum(item.flatten(1).sum(1) * 0.0 for item in weights)
        return self.per_arm({"weights": sums}, seeds)

    def policies(self, seeds: Sequence[int], diverged: Divergence) -> list[tuple[str, int, Any]]:
        """Return (arm, training seed, policy) for every sound network, as a package in memory."""
        make = resolve("package", "make")
        stacked = {key: value.numpy() for key, value in self.learner.actor_weights().items()}
        described = {"algorithm": self.algorithm, "head": self.learner.head}
        return [
            (
                arm,
                seed,
                make(
                    {key: value[i * len(seeds) + j] for key, value in stacked.items()},
                    self.normalisers[j % len(self.normalisers)],
                    {**described, "arm": arm, "seed": seed},
                ),
            )
            for i, arm in enumerate(self.arms)
            for j, seed in enumerate(seeds)
            if not diverged.has(arm, seed)
        ]


def reward_columns(
    datasets: Sequence[Dataset],
    labels: Sequence[FloatArray],
    *,
    controls: bool,
    scaled: bool,
    own: bool = False,
) -> dict[str, list[RewardColumn]]:
    """Return the reward of every arm on every dataset: ``policy`` and the reward controls.

    ``own`` says that the labels are the reward that the data came with: unless they tell success
    too, the true-reward control would be the policy once more.
    """
    columns: dict[str, list[Any]] = {"policy": list(labels)}
    if controls:
        one = np.ones(1, np.float32)
        columns["constant_reward"] = [np.broadcast_to(one, len(item)) for item in datasets]
        true = [item.true_reward() for item in datasets]
        told = all(item.has(f"{EXTRA}success") for item in datasets)
        if all(item is not None for item in true) and (told or not own):
            columns["true_reward"] = true
    if not scaled:
        return {arm: [RewardColumn(item) for item in items] for arm, items in columns.items()}
    shifts = [not item.column("terminated").any() for item in datasets]
    return {
        arm: [standardise(item, shift=shift) for item, shift in zip(items, shifts, strict=True)]
        for arm, items in columns.items()
    }


def make_groups(
    policy: Mapping[str, Any],
    datasets: Sequence[Dataset],
    rewards: Mapping[str, Sequence[RewardColumn]],
    *,
    controls: bool,
    seeds: Sequence[int],
    steps: int,
    device: str,
    compiled: bool,
) -> list[Group]:
    """Build the learners of the policy and its controls."""
    low, high = common_bounds(datasets)
    sources = [source_of(item) for item in datasets]
    normalisers = [Normaliser.fit(source, low, high) for source in sources]
    if compiled:
        torch.compiler.reset()  # what a sweep compiled before counts against torch's limit
    groups = []
    for algorithm, (settings, arms) in plan_of(policy, tuple(rewards), controls=controls).items():
        maker = resolve("policy", algorithm)
        discount = maker.return_discount(settings)
        columns = {
            (arm, where): with_returns(column, source, discount)
            for arm in arms
            for where, (column, source) in enumerate(
                zip(rewards[arm if arm in rewards else "policy"], sources, strict=True)
            )
        }
        learners = [
            (where, columns[arm, where])
            for arm in arms
            for where in (j % len(datasets) for j in range(len(seeds)))
        ]
        learner = maker(
            over_arms(settings, len(arms), len(seeds)),
            observation_size=sources[0].observation.shape[1],
            action_size=sources[0].action.shape[1],
            seeds=list(seeds) * len(arms),
            total_steps=steps,
            device=device,
            compiled=compiled,
        )
        data = on_device(sources, normalisers, learners, device)
        groups.append(Group(algorithm, arms, learner, data, normalisers))
    return groups


def source_of(dataset: Dataset) -> Source:
    """Return what the engine reads of a dataset; nothing is copied."""
    return Source(
        observation=dataset.column("observation"),
        action=dataset.column("action"),
        terminated=dataset.column("terminated"),
        episode_starts=dataset.episode_starts,
    )


def common_bounds(datasets: Sequence[Dataset]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the action bounds that all datasets share, after a look at their observations."""
    bounds = [action_bounds(item.info.action, item.folder) for item in datasets]
    for dataset, found in zip(datasets, bounds, strict=True):
        shape = dataset.column("observation").shape[1:]
        if len(shape) != 1:
            raise UserError(
                f"{dataset.folder} has observations of shape {list(shape)}; only vectors are learnt"
            )
        if found != bounds[0]:
            raise UserError(
                f"{dataset.folder} declares another action range than {datasets[0].folder}; "
                "use datasets of one environment"
            )
    return bounds[0]


def plan_of(
    policy: Mapping[str, Any], arms: tuple[str, ...], *, controls: bool
) -> dict[str, tuple[Any, tuple[str, ...]]]:
    """Return by algorithm its config and the arms that it trains."""
    name = str(policy.get("name"))
    config = algorithm_config(name, {key: item for key, item in policy.items() if key != "name"})
    plan = {name: (config, arms if name != "bc" else ("policy",))}
    if controls and name != "bc":
        shared = {item.name for item in dataclasses.fields(resolve("policy", "bc").Config)}
        values = {key: item for key, item in vars(config).items() if key in shared}
        plan["bc"] = (algorithm_config("bc", values), ("bc",))
    return plan


def on_device(
    sources: Sequence[Source],
    normalisers: Sequence[Normaliser],
    learners: Sequence[tuple[int, RewardColumn]],
    device: str,
) -> OfflineData | StreamedData:
    """Return data that lie on the device, or that are streamed to it where they do not fit."""
    if not device.startswith("cuda"):
        return OfflineData(sources, normalisers, learners)
    arrays = [array for source in sources for array in vars(source).values()]
    arrays += [item for _, column in learners for item in (column.values, column.return_to_go)]
    distinct = {id(array): array for array in arrays if array is not None}
    needed = sum(array.nbytes for array in distinct.values())
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    if needed <= RESIDENT_SHARE * free:
        return OfflineData(sources, normalisers, learners, device)
    return StreamedData(OfflineData(sources, normalisers, learners), device)


def with_returns(column: RewardColumn, source: Source, discount: float | None) -> RewardColumn:
    """Add the return to go to a reward where the algorithm asks for it."""
    if discount is None:
        return column
    found = returns_to_go(column, source.episode_starts, discount)
    return dataclasses.replace(column, return_to_go=found)


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
