"""The labelled datasets of a training: opened, and checked against the environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from embodied.dataset import EXTRA, Dataset
from embodied.environments import EnvConfig, make_environment
from embodied.errors import UserError
from embodied.formats import open_datasets
from embodied.labels import read_labels

OWN_REWARD = "environment_reward"  # the column of the reward that a dataset came with


@dataclass(frozen=True)
class DataConfig:
    """Which datasets and which of their labels."""

    paths: tuple[str, ...]  # one for all training seeds, or one per seed
    label: str = "default"  # the label column that is the reward; or environment_reward
    fields: dict[str, Any] = field(default_factory=dict)  # names for parts of the observation


def open_labelled(
    data: DataConfig, env: EnvConfig, seeds: Sequence[int]
) -> tuple[list[Dataset], list[Any], dict[str, Any]]:
    """Return datasets, their label columns [N] and the reward's provenance, everything checked.

    Raises:
        UserError: Data that are missing, damaged, unlabelled or of another environment.
    """
    datasets = open_checked(data, env, seeds)
    read = [read_reward(dataset, data.label) for dataset in datasets]
    provenance = [item for _, item in read]
    if any(undated(item) != undated(provenance[0]) for item in provenance):
        raise UserError("the datasets were labelled by different rewards; label them all with one")
    return datasets, [values for values, _ in read], provenance[0]


def undated(provenance: Any) -> Any:
    """Return a provenance without its dates: one reward may be made again for every dataset."""
    if isinstance(provenance, Mapping):
        return {key: undated(item) for key, item in provenance.items() if key != "date"}
    return [undated(item) for item in provenance] if isinstance(provenance, list) else provenance


def open_checked(data: DataConfig, env: EnvConfig, seeds: Sequence[int]) -> list[Dataset]:
    """Return datasets that a policy for the environment can learn from, whatever their labels.

    Raises:
        UserError: Data that are missing, damaged or of another environment.
    """
    datasets = open_datasets(data.paths, data.fields)
    if len(datasets) not in (1, len(seeds)):
        raise UserError(
            f"{len(datasets)} datasets for {len(seeds)} seeds; give one dataset for all "
            "seeds, or one for each"
        )
    for dataset in datasets:
        own = (f"{EXTRA}{OWN_REWARD}",)
        dataset.check_finite(("observation", "action", *filter(dataset.has, own)))
        # Some foreign formats do not say where they were collected.
        if dataset.info.environment not in ("", env.title):
            raise UserError(
                f"{dataset.folder} was collected in {dataset.info.environment!r}, the evaluation "
                f"runs in {env.title!r}; say env={dataset.info.environment}"
            )
    check_sizes(datasets[0], env)
    return datasets


def check_sizes(dataset: Dataset, env: EnvConfig) -> None:
    """Raise UserError where the evaluation could not run a policy that learnt from the data."""
    made = make_environment(env, 1)
    try:
        spaces = {
            "observation": made.single_observation_space,
            "action": made.single_action_space,
        }
    finally:
        made.close()
    for name, space in spaces.items():
        stored = dataset.column(name).shape[1:]
        if space.shape != stored:
            raise UserError(
                f"{dataset.folder} has {name}s of shape {list(stored)}, those of {env.title} have "
                f"{list(space.shape or ())}; use data of that environment, or say env="
            )


def read_reward(dataset: Dataset, label: str) -> tuple[Any, dict[str, Any]]:
    """Return a label column [N] and the provenance of its reward.

    ``environment_reward`` names the reward that the dataset came with.
    """
    if label != OWN_REWARD:
        values, metadata = read_labels(dataset, label)
        return values, metadata["reward"]
    if not dataset.has(f"{EXTRA}{OWN_REWARD}"):
        raise UserError(f"{dataset.folder} came without a reward; make one with `embodied label`")
    return dataset.column(f"{EXTRA}{OWN_REWARD}"), {"kind": OWN_REWARD}
