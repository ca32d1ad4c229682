"""What is trained beside each other where labelled pairs of segments take the place of a reward.

The arms are the policy, ``bc`` (behaviour cloning of all data) and ``sft`` (behaviour cloning of
the preferred segments alone). Without the second, nobody can say whether a policy learnt from what
was preferred or only from where the better data are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from embodied.dataset import Dataset
from embodied.engine.data import Normaliser, RewardColumn
from embodied.engine.pairs import ChosenData, PairData
from embodied.environments import EnvConfig
from embodied.errors import UserError
from embodied.files import sha256_file
from embodied.preferences import PreferencePairs, pairs_path, read_pairs
from embodied.registry import resolve
from embodied.stages.arms import Group, common_bounds, on_device, source_of
from embodied.stages.labelled import DataConfig, open_checked, undated
from embodied.stages.settings import algorithm_config, over_arms


def open_pairs(
    data: DataConfig, env: EnvConfig, seeds: Sequence[int]
) -> tuple[list[Dataset], list[PreferencePairs], dict[str, Any]]:
    """Return datasets, the labelled pairs of each and their provenance, everything checked.

    Raises:
        UserError: Data that are missing, damaged, without such pairs or of another environment.
    """
    datasets = open_checked(data, env, seeds)
    pairs, told = [], []
    for dataset in datasets:
        found, metadata = read_pairs(dataset, data.label)
        if not len(found.preferred()):
            raise UserError(
                f"the pairs {data.label!r} of {dataset.folder} are all ties; there is nothing to "
                "learn from them"
            )
        pairs.append(found)
        told.append(metadata["preferences"])
    if any(undated(item) != undated(told[0]) for item in told):
        raise UserError(
            "the pairs of the datasets were labelled in different ways; label them all in one"
        )
    provenance = {
        "kind": "preferences",
        "instruction": told[0].get("instruction"),
        "pairs": [len(item) for item in pairs],
        "pairs_sha256": [sha256_file(pairs_path(item, data.label)) for item in datasets],
        "source": told[0],
    }
    return datasets, pairs, provenance


def make_pair_groups(
    policy: Mapping[str, Any],
    datasets: Sequence[Dataset],
    pairs: Sequence[PreferencePairs],
    *,
    controls: bool,
    seeds: Sequence[int],
    steps: int,
    device: str,
    compiled: bool,
) -> list[Group]:
    """Build the learners of the policy and its controls; ``pairs`` has one table per dataset."""
    low, high = common_bounds(datasets)
    sources = [source_of(item) for item in datasets]
    normalisers = [Normaliser.fit(source, low, high) for source in sources]
    rewards = [RewardColumn(np.broadcast_to(np.zeros(1, np.float32), len(s))) for s in sources]
    if compiled:
        torch.compiler.reset()  # what a sweep compiled before counts against torch's limit
    places = [j % len(datasets) for j in range(len(seeds))]  # which dataset each seed has

    def group(name: str, config: Any, arms: tuple[str, ...]) -> Group:
        learner = resolve("policy", name)(
            over_arms(config, len(arms), len(seeds)),
            observation_size=sources[0].observation.shape[1],
            action_size=sources[0].action.shape[1],
            seeds=list(seeds) * len(arms),
            total_steps=steps,
            device=device,
            compiled=compiled,
        )
        learners = [(where, rewards[where]) for where in places * len(arms)]
        data = on_device(sources, normalisers, learners, device)
        if arms == ("policy",):
            shown: PairData | ChosenData = PairData(data, [pairs[where] for where in places])
        else:
            every = [np.arange(len(source)) for source in sources]
            preferred = [item.preferred() for item in pairs]
            chosen = [item[where] for item in (every, preferred) for where in places]
            shown = ChosenData(data, chosen)
        return Group(name, arms, learner, shown, normalisers)

    name = str(policy.get("name"))
    config = algorithm_config(name, {key: item for key, item in policy.items() if key != "name"})
    groups = [group(name, config, ("policy",))]
    if controls:
        # Not its minibatch, which is counted in pairs.
        shared = {"hidden": config.hidden, "learning_rate": config.learning_rate}
        groups.append(group("bc", algorithm_config("bc", shared), ("bc", "sft")))
    return groups
