"""``embodied data``: show a dataset, or make a new one out of others, in any format."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np

from embodied.config import build
from embodied.dataset import EXTRA, STATE, Dataset, Episode
from embodied.dataset_json import DatasetInfo
from embodied.episodes import episode_success
from embodied.errors import UserError, at_least
from embodied.formats import open_datasets
from embodied.formats.writers import ASK_FOR_REWARD, writer
from embodied.labels import read_labels
from embodied.progress import progress_bar
from embodied.transforms import REWARD, Corruption, corrupt_episodes
from embodied.types import Field, LazyColumns

ACTIONS = ("info", "filter", "split", "merge", "convert", "corrupt")


@dataclass(frozen=True)
class DataConfig:
    """What ``data`` is asked for."""

    output: str | None = None  # the dataset that is made; split makes two beside it
    format: str = "native"  # of what is made: native, minari, lerobot or robomimic
    label: str | None = None  # a label that takes the place of the dataset's own reward
    success: bool | None = None  # filter: keep only episodes that ended so
    finite: bool = True  # filter: drop episodes with NaN or infinity
    fraction: float = 0.9  # split: share of the episodes in the first part
    kind: str | None = None  # corrupt: observation, action, reward or dynamics
    rate: float = 0.3  # corrupt: share of the transitions
    scale: float = 1.0  # corrupt: size of the noise in standard deviations
    seed: int = 0  # split and corrupt: which episodes go where, which transitions change


def info(dataset: Dataset) -> str:
    """Return a dataset's description as text."""
    lengths = dataset.episode_lengths
    lines = [
        f"{dataset.folder}: {dataset.info.environment or 'unknown environment'}, "
        f"{dataset.num_episodes} episodes "
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


def episodes_of(
    dataset: Dataset, label: str | None = None, indices: Sequence[int] | None = None
) -> Iterator[Episode]:
    """Yield episodes of a dataset, all of them unless indices are given.

    With ``label`` those labels stand in place of the dataset's own reward.
    """
    rewards = None if label is None else read_labels(dataset, label)[0]
    for index in range(dataset.num_episodes) if indices is None else indices:
        episode = dataset.episode(index)
        if rewards is not None:
            start = int(dataset.episode_starts[index])
            reward = rewards[start : start + len(episode.action)]
            episode = replace(episode, columns={**episode.columns, REWARD: reward})
        yield episode


def wanted(episode: Episode, config: DataConfig) -> bool:
    """Return whether ``filter`` keeps an episode."""
    if config.success is not None:
        success = episode_success(episode)
        if success is None:
            raise UserError("the dataset does not tell success; leave out success=")
        if success != config.success:
            return False
    rewards = [values for name, values in episode.columns.items() if name == REWARD]
    arrays = (episode.observation, episode.action, *episode.state.values(), *rewards)
    return not config.finite or all(np.isfinite(array).all() for array in arrays)


def origin_of(action: str, datasets: Sequence[Dataset], config: DataConfig) -> dict[str, Any]:
    """Return how a new dataset came about: from which ones, and with which label."""
    origin: dict[str, Any] = {"action": action, "from": [item.digest for item in datasets]}
    origin["origins"] = [dict(item.info.origin) for item in datasets]
    instruction = datasets[0].info.origin.get("instruction")
    if config.label is not None:
        reward = read_labels(datasets[0], config.label)[1]["reward"]
        origin |= {"label": config.label, "reward": reward}
        instruction = reward.get("instruction") or instruction
    if instruction:
        origin["instruction"] = instruction
    return origin


def write(
    output: Path, about: DatasetInfo, episodes: Iterable[Episode], config: DataConfig
) -> None:
    """Write a new dataset and say what it holds."""
    lengths, rewarded = [], False

    def counted() -> Iterator[Episode]:
        nonlocal rewarded
        for episode in episodes:
            lengths.append(len(episode.action))
            rewarded = REWARD in episode.columns
            yield episode

    writer(config.format)(output, about, counted())
    if config.format == "native":
        print(info(Dataset(output)))
        return
    print(f"{output}: {len(lengths)} episodes, {sum(lengths)} transitions, as {config.format}")
    if config.format in ASK_FOR_REWARD and not rewarded:
        print("  no reward was recorded, so it is 0; label=NAME puts a label there")


def run(action: str, paths: list[str], values: dict[str, Any]) -> None:
    """Entry of the command line. Labels stay with the dataset that they were made for."""
    config = build(DataConfig, values)
    at_least(0, {"seed": config.seed})
    if action not in ACTIONS:
        raise UserError(f"unknown action {action!r}; known: {', '.join(ACTIONS)}")
    writer(config.format)
    corruption = _corruption(action, config)
    datasets = open_datasets(paths)
    if action == "info":
        print("\n".join(info(item) for item in datasets))
        return
    if config.output is None:
        raise UserError(f"data {action} needs output=FOLDER")
    common, left_out = common_columns(datasets)
    origin, first = origin_of(action, datasets, config), datasets[0]
    if action in ("split", "corrupt") and len(datasets) != 1:
        raise UserError(f"data {action} takes one dataset, not {len(datasets)}; merge them first")
    if corruption is not None:
        origin["corruption"] = asdict(corruption)
    about = replace(merged_info([item.info for item in datasets], common), origin=origin)
    if action == "split":
        split(first, about, config, Path(config.output))
        return
    with progress_bar(sum(item.num_episodes for item in datasets), action, " episodes") as bar:
        episodes = _told(_drawn(datasets, config, common), bar)
        if corruption is not None:
            episodes = corrupt_episodes(first, episodes, corruption)
        elif action == "filter":
            episodes = (item for item in episodes if wanted(item, config))
        write(Path(config.output), about, episodes, config)
    if left_out:
        print(f"  left out, as not every dataset has it: {', '.join(left_out)}")


def common_columns(datasets: Sequence[Dataset]) -> tuple[set[str], list[str]]:
    """Return the stored names that every dataset has, and those that only some have."""
    names = [set(item.column_names) for item in datasets]
    common = set.intersection(*names)
    return common, sorted(set.union(*names) - common)


def merged_info(infos: Sequence[DatasetInfo], columns: Collection[str]) -> DatasetInfo:
    """Return the description of several datasets in one, with the state fields in ``columns``.

    Raises:
        UserError: They come from different environments, or actions or fields differ in shape.
    """
    environments = {item.environment for item in infos if item.environment}
    if len(environments) > 1:
        raise UserError("the datasets come from different environments; merge those of one")
    names = [name for name in infos[0].fields if f"{STATE}{name}" in columns]
    known = [name for name in names if all(name in item.fields for item in infos)]
    return replace(
        infos[0],
        environment=next(iter(environments), ""),
        action=_merged_field("action", [item.action for item in infos]),
        fields={name: _merged_field(name, [item.fields[name] for item in infos]) for name in known},
    )


def _merged_field(name: str, items: Sequence[Field]) -> Field:
    """Return documentation that holds for all: equal texts, and bounds around all bounds."""
    first = items[0]
    if any(item.shape != first.shape for item in items):
        shapes = " and ".join(sorted({str(list(item.shape)) for item in items}))
        raise UserError(f"{name} has the shapes {shapes}; merge datasets in which it is the same")
    low, high = [item.low for item in items], [item.high for item in items]
    return Field(
        shape=first.shape,
        unit=_agreed([item.unit for item in items], "unknown"),
        meaning=_agreed([item.meaning for item in items], ""),
        frame=_agreed([item.frame for item in items], ""),
        low=_outermost(np.minimum, low),
        high=_outermost(np.maximum, high),
    )


def _agreed(texts: Sequence[str], otherwise: str) -> str:
    return texts[0] if len(set(texts)) == 1 else otherwise


def _outermost(
    further: np.ufunc, bounds: Sequence[tuple[float, ...] | None]
) -> tuple[float, ...] | None:
    known = [np.array(item, np.float64) for item in bounds if item is not None]
    if len(known) < len(bounds):
        return None
    return tuple(reduce(further, known).tolist())


def _corruption(action: str, config: DataConfig) -> Corruption | None:
    if action != "corrupt":
        return None
    if config.kind is None:
        raise UserError("data corrupt needs kind=observation, action, reward or dynamics")
    return Corruption(config.kind, config.rate, config.scale, config.seed)


def _drawn(
    datasets: Sequence[Dataset], config: DataConfig, common: Collection[str]
) -> Iterator[Episode]:
    for dataset in datasets:
        for episode in episodes_of(dataset, config.label):
            kept = {name for name in episode.columns if f"{EXTRA}{name}" in common}
            if config.label is not None:
                kept.add(REWARD)
            state = {
                name: partial(episode.state.__getitem__, name)
                for name in episode.state
                if f"{STATE}{name}" in common
            }
            columns = {name: episode.columns[name] for name in episode.columns if name in kept}
            yield replace(episode, state=LazyColumns(state), columns=columns)


def _told(episodes: Iterable[Episode], bar: Any) -> Iterator[Episode]:
    for episode in episodes:
        yield episode
        bar.update(1)


def split(dataset: Dataset, about: DatasetInfo, config: DataConfig, output: Path) -> None:
    """Divide the episodes of a dataset at random into ``<output>-a`` and ``<output>-b``."""
    if not 0.0 < config.fraction < 1.0:
        raise UserError("data split takes one dataset and a fraction between 0 and 1")
    order = np.random.default_rng(config.seed).permutation(dataset.num_episodes)
    cut = round(config.fraction * len(order))
    suffix = output.suffix if config.format == "robomimic" else ""
    parts = {
        output.with_name(f"{output.name.removesuffix(suffix)}-{letter}{suffix}"): part
        for letter, part in zip("ab", (order[:cut], order[cut:]), strict=True)
    }
    for path, part in parts.items():
        if path.exists() or not len(part):
            reason = "exists already" if path.exists() else "would be empty"
            raise UserError(f"{path} {reason}; nothing was written")
    for path, part in parts.items():
        indices = [int(index) for index in sorted(part)]
        write(path, about, episodes_of(dataset, config.label, indices), config)
