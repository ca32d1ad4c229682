"""``embodied collect``: roll behaviours out into a dataset without rewards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embodied.config import build, options_of
from embodied.dataset import Episode
from embodied.dataset_json import DatasetInfo
from embodied.dataset_writer import write_dataset
from embodied.environments import EnvConfig, describe_action, make_environment, make_task
from embodied.episodes import episode_success
from embodied.errors import UserError, at_least
from embodied.progress import progress_bar
from embodied.registry import resolve
from embodied.rollout import rollout
from embodied.runs import git_commit
from embodied.types import Field, LearningBehaviour


@dataclass(frozen=True)
class CollectConfig:
    """What ``collect`` is asked for."""

    env: EnvConfig  # where to collect
    behaviour: dict[str, Any]  # short name and options of the behaviour
    output: str  # the dataset folder that is made
    episodes: int = 2000  # rounded up to a multiple of env.num_envs
    seed: int = 0  # of the environments' starts and of the behaviour's noise


@dataclass(frozen=True)
class Collected:
    """What was collected."""

    folder: Path
    episodes: int
    transitions: int
    success: float | None = field(default=None)  # share of episodes that ended in success


def collect(config: CollectConfig) -> Collected:
    """Collect a dataset; the folder appears when every episode is there.

    Raises:
        UserError: The output exists already, or a name or option is unknown.
    """
    folder = Path(config.output)
    if folder.exists():
        raise UserError(f"{folder} exists already; name another output or remove it")
    at_least(1, {"episodes": config.episodes, "env.num_envs": config.env.num_envs})
    at_least(0, {"seed": config.seed})
    num_envs = min(config.env.num_envs, config.episodes)
    per_env = math.ceil(config.episodes / num_envs)
    env = make_environment(config.env, num_envs)
    task = make_task(config.env.title)
    behaviour = make_behaviour(config.behaviour, env, config.seed)
    info = DatasetInfo(
        environment=config.env.title,
        action=describe_action(env, task),
        fields=dict(task.fields) if task else {},
        control_hz=task.control_hz if task else 0.0,
        origin={
            "env": asdict(config.env),
            "behaviour": config.behaviour,
            "seed": config.seed,
            "git_commit": git_commit(),
        },
    )
    keep_own = task is None or getattr(task, "own_reward", False)
    total, transitions = per_env * num_envs, 0
    successes: list[bool | None] = []
    try:
        with write_dataset(folder, info) as writer, progress_bar(total, "collect") as bar:
            observe = behaviour.observe if isinstance(behaviour, LearningBehaviour) else None
            episodes = rollout(env, behaviour.act, per_env, config.seed, observe=observe)
            for _, episode in episodes:
                writer.add(unrewarded(episode, keep_own=keep_own))
                transitions += len(episode.action)
                successes.append(episode_success(episode))
                bar.update(1)
    finally:
        env.close()
    known = [item for item in successes if item is not None]
    return Collected(folder, total, transitions, sum(known) / total if known else None)


def make_behaviour(config: Mapping[str, Any], env: Any, seed: int) -> Any:
    """Return a behaviour by short name and options for this environment."""
    maker = resolve("behaviour", str(config.get("name")))
    task = getattr(env, "task", None)
    subject = task if task is not None else ActionOnly(describe_action(env, None))
    return maker(subject, env.num_envs, seed, **options_of(maker, config, "behaviour"))


@dataclass(frozen=True)
class ActionOnly:
    """Stands for the task where an environment documents none: enough for random actions."""

    action: Field


def unrewarded(episode: Episode, *, keep_own: bool) -> Episode:
    """Drop the environment's reward: what is collected is unlabelled.

    The success flag stays, for controls and diagnostics. So does, with ``keep_own``, the reward of
    an environment that is not one of ours, or of a task that says it has one (``own_reward``), as
    ``environment_reward``: no stage takes it for a label. That of the others is the success flag.
    """
    columns = dict(episode.columns)
    own = columns.pop("reward")
    if keep_own:
        columns["environment_reward"] = own
    for name, values in (("observation", episode.observation), ("reward", own)):
        if not np.isfinite(values).all():
            raise UserError(f"the environment gave a non-finite {name}; nothing was written")
    return Episode(episode.observation, episode.action, episode.terminated, episode.state, columns)


def run(values: dict[str, Any]) -> Collected:
    """Entry of the command line."""
    result = collect(build(CollectConfig, values))
    success = "" if result.success is None else f", {result.success:.0%} successful"
    print(f"{result.folder}: {result.episodes} episodes, {result.transitions} transitions{success}")
    return result
