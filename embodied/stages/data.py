"""``embodied data``: show a dataset, or make a new one out of others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from embodied.config import build
from embodied.dataset import EXTRA, Dataset, Episode, open_datasets
from embodied.dataset_writer import write_dataset
from embodied.episodes import episode_success
from embodied.errors import UserError, at_least
from embodied.labels import read_labels

ACTIONS = ("info", "filter", "split", "merge")


@dataclass(frozen=True)
class DataConfig:
    """What ``data`` is asked for."""

    output: str | None = None  # the dataset that filter and merge make; split makes two beside it
    success: bool | None = None  # filter: keep only episodes that ended so
    finite: bool = True  # filter: drop episodes with NaN or infinity
    fraction: float = 0.9  # split: share of the episodes in the first part
    seed: int = 0  # split: which episodes go where


def info(dataset: Dataset) -> str:
    """Return a dataset's description as text."""
    lengths = dataset.episode_lengths
    lines = [
        f"{dataset.folder}: {dataset.info.environment}, {dataset.num_episodes} episodes "
        f"({lengths.min()}-{lengths.max()} steps), {len(dataset)} transitions, "
        f"sha256 {dataset.digest[:12]}"
    ]
    if dataset.has(f"{EXTRA}success"):
        lines.append(f"  success: {dataset.episode_ends(f'{EXTRA}success').mean():.1%} of episodes")
    for name in dataset.column_names:
        column = dataset.column(name)
        lines.append(f"  {name}: {column.dtype} {list(column.shape)}")
    for path in sorted((dataset.folder / "labels").glob("*.parquet")):
        values, metadata = read_labels(dataset, path.stem)
        reward = metadata["reward"]
        told = f" ({reward['instruction']!r})" if reward.get("instruction") else ""
        lines.append(
            f"  label {path.stem}: {reward.get('kind')}{told}, mean {values.mean():.3f}, "
            f"min {values.min():.3f}, max {values.max():.3f}"
        )
    return "\n".join(lines)


def episodes_of(datasets: Iterable[Dataset]) -> Iterator[Episode]:
    """Yield every episode of every dataset."""
    for dataset in datasets:
        for index in range(dataset.num_episodes):
            yield dataset.episode(index)


def wanted(episode: Episode, config: DataConfig) -> bool:
    """Return whether ``filter`` keeps an episode."""
    if config.success is not None:
        success = episode_success(episode)
        if success is None:
            raise UserError("the dataset does not tell success; leave out success=")
        if success != config.success:
            return False
    arrays = (episode.observation, episode.action, *episode.state.values())
    return not config.finite or all(np.isfinite(array).all() for array in arrays)


def write(output: Path, episodes: Iterable[Episode], like: Dataset, origin: dict[str, Any]) -> None:
    """Write a new dataset that says which ones it was made of."""
    with write_dataset(output, replace(like.info, origin=origin)) as writer:
        for episode in episodes:
            writer.add(episode)
    print(info(Dataset(output)))


def run(action: str, paths: list[str], values: dict[str, Any]) -> None:
    """Entry of the command line. Labels stay with the dataset that they were made for."""
    config = build(DataConfig, values)
    at_least(0, {"seed": config.seed})
    if action not in ACTIONS:
        raise UserError(f"unknown action {action!r}; known: {', '.join(ACTIONS)}")
    datasets = open_datasets(paths)
    if action == "info":
        print("\n".join(info(item) for item in datasets))
        return
    if config.output is None:
        raise UserError(f"data {action} needs output=FOLDER")
    first, output = datasets[0], Path(config.output)
    origin = {"action": action, "from": [item.digest for item in datasets]}
    if action == "split":
        split(datasets, config, output, origin)
        return
    if len({item.info.environment for item in datasets}) > 1:
        raise UserError("the datasets come from different environments; merge those of one")
    kept = (e for e in episodes_of(datasets) if action == "merge" or wanted(e, config))
    write(output, kept, first, origin)


def split(
    datasets: list[Dataset], config: DataConfig, output: Path, origin: dict[str, Any]
) -> None:
    """Divide the episodes of one dataset at random into ``<output>-a`` and ``<output>-b``."""
    if len(datasets) != 1 or not 0.0 < config.fraction < 1.0:
        raise UserError("data split takes one dataset and a fraction between 0 and 1")
    dataset = datasets[0]
    order = np.random.default_rng(config.seed).permutation(dataset.num_episodes)
    cut = round(config.fraction * len(order))
    parts = {
        output.with_name(f"{output.name}-{suffix}"): part
        for suffix, part in zip("ab", (order[:cut], order[cut:]), strict=True)
    }
    for path, part in parts.items():
        if path.exists() or not len(part):
            reason = "exists already" if path.exists() else "would be empty"
            raise UserError(f"{path} {reason}; nothing was written")
    for path, part in parts.items():
        write(path, (dataset.episode(int(i)) for i in sorted(part)), dataset, origin)
