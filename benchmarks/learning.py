"""What the learning benchmarks share: training an arm in memory, and comparing two arms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from embodied.engine.data import Normaliser, OfflineData, RewardColumn, Source
from embodied.statistics import Outcomes, summary
from policies.bc import BC, BCConfig
from policies.iql import IQL, IQLConfig
from policies.package import PackagedPolicy, make

FloatArray = npt.NDArray[np.float32]


def difference(ours: Outcomes, other: Outcomes) -> dict[str, Any]:
    """Return ``summary`` of ours minus the other's, paired by training seed and by episode."""
    return summary([a - b for a, b in zip(ours, other, strict=True)])


def train(
    config: IQLConfig | BCConfig,
    sources: Sequence[Source],
    rewards: Sequence[FloatArray],
    bounds: tuple[Sequence[float], Sequence[float]],
    seeds: Sequence[int],
    steps: int,
) -> list[PackagedPolicy]:
    """Train one learner per seed, all stacked, on a dataset each; return the last policies.

    Args:
        config: Its type says which algorithm.
        sources: One per seed.
        rewards: The reward [N] of every source.
        bounds: Low and high of the action, in its own units.
        seeds: Of the weights and the minibatches.
        steps: Updates.
    """
    normalisers = [Normaliser.fit(source, *bounds) for source in sources]
    columns = [(i, RewardColumn(reward)) for i, reward in enumerate(rewards)]
    sizes = sources[0].observation.shape[1], sources[0].action.shape[1]
    if isinstance(config, IQLConfig):
        name, learner = "iql", IQL(config, *sizes, seeds=seeds, total_steps=steps)
    else:
        name, learner = "bc", BC(config, *sizes, seeds=seeds, total_steps=steps)
    learner.update(OfflineData(sources, normalisers, columns), steps)
    stacked = {key: value.numpy() for key, value in learner.actor_weights().items()}
    if not all(np.isfinite(item).all() for item in stacked.values()):
        raise SystemExit(f"{name} diverged: {config}")
    return [
        make({key: value[i] for key, value in stacked.items()}, normaliser, {"algorithm": name})
        for i, normaliser in enumerate(normalisers)
    ]
