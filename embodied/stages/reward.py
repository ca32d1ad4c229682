"""``embodied reward``: make a reward from a sentence (or a file), check it and keep it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embodied.config import build, options_of
from embodied.environments import EnvConfig, make_environment, make_task, require_task
from embodied.episodes import concatenate
from embodied.errors import UserError, at_least
from embodied.files import read_json
from embodied.frames import make_frames
from embodied.progress import progress_bar
from embodied.registry import resolve
from embodied.rollout import rollout
from embodied.runs import RunFolder
from embodied.stages.collect import make_behaviour
from embodied.types import Reward, RewardContext, Task, Transitions

FEW = 16  # fewer environments than that mean a simulator that steps them one by one
MAX_STEPS_OF_FEW = 5_000  # control steps of a sample in such a simulator, rounded up


@dataclass(frozen=True)
class RewardConfig:
    """What ``reward`` is asked for."""

    env: EnvConfig  # the task that the reward is for
    reward: dict[str, Any]  # short name and options of the reward maker
    provider: dict[str, Any]  # short name and options of the language model's provider
    instruction: str | None = None  # the sentence; the task's own when null
    path: str | None = None  # of a hand-written reward (reward=file) or a run (reward=saved)
    reference: str | None = None  # file of a reward to compare with; the task's expert when null
    check: bool = False  # print the verdicts of the gate
    check_episodes: int = 128  # episodes that a new reward is tried on
    seed: int = 0  # of those episodes


def make_reward(
    config: dict[str, Any],
    provider: dict[str, Any],
    context_folder: Path,
    task: Task | None,
    sample: Transitions | None,
    *,
    environment: Callable[[int], Any] | None = None,
    instruction: str | None = None,
    reference: str | None = None,
    dataset: Any = None,
) -> Reward:
    """Return the reward that the config names, accepted by its checks.

    ``environment``, ``instruction``, ``reference`` and ``dataset`` are those of ``RewardContext``.

    Raises:
        UserError: An unknown name or option, or no acceptable reward could be made.
    """
    maker = resolve("reward", str(config.get("name")))
    context = RewardContext(
        folder=context_folder,
        task=task,
        sample=sample,
        provider=lambda: make_provider(provider),
        environment=environment,
        instruction=instruction,
        reference=None if reference is None else Path(reference),
        frames=lambda look: make_frames(task, look=look),
        dataset=dataset,
    )
    reward: Reward = maker(context, **options_of(maker, config, "reward"))
    return reward


def make_provider(config: dict[str, Any]) -> Any:
    """Return the provider that the config names."""
    maker = resolve("provider", str(config.get("name")))
    options = {key: value for key, value in config.items() if key != "name"}
    return maker(options) if options else maker()


def sample_transitions(env_config: EnvConfig, episodes: int, seed: int) -> Transitions:
    """Return transitions of the task's own behaviour, where there is one: of both outcomes.

    Without a task actions are random. In simulators of few environments, which are slow, there are
    fewer episodes where these are long.
    """
    at_least(1, {"check_episodes": episodes, "env.num_envs": env_config.num_envs})
    at_least(0, {"seed": seed})
    num_envs = min(env_config.num_envs, episodes)
    env = make_environment(env_config, num_envs)
    try:
        task = make_task(env_config.title)
        behaviour = make_behaviour({"name": task.behaviour if task else "random"}, env, seed)
        if task and num_envs < FEW:
            episodes = min(episodes, max(num_envs, MAX_STEPS_OF_FEW // task.max_steps))
        count = -(-episodes // num_envs)
        made = []
        with progress_bar(count * num_envs, "sample", " episodes") as bar:
            for _, episode in rollout(env, behaviour.act, count, seed):
                made.append(episode)
                bar.update()
        return concatenate(made)
    finally:
        env.close()


def reward(config: RewardConfig, run: RunFolder | None = None) -> RunFolder:
    """Make a reward and keep it in ``<run>/reward/``; the run is a new one unless given."""
    task = require_task(config.env.title)
    sample = sample_transitions(config.env, config.check_episodes, config.seed)
    instruction = config.instruction or task.instruction
    options = dict(config.reward)
    if "instruction" in options:
        options["instruction"] = instruction
    run = run or RunFolder.create("reward")
    run.describe({"command": "reward", **asdict(config)}, {"command": "reward"})
    make_reward(
        options,
        config.provider,
        run.path / "reward",
        task,
        sample,
        environment=lambda most: make_environment(config.env, min(most, config.env.num_envs)),
        instruction=config.instruction,
        reference=config.reference,
    )
    if not (run.path / "reward" / "provenance.json").is_file():
        raise UserError(
            f"reward={options['name']} has nothing to keep; label with it directly: "
            f"embodied label DATA reward={options['name']}"
        )
    return run


def check_table(diagnostics: Mapping[str, Any]) -> str:
    """Return the verdicts of the gate and the terms of a reward as text, from its JSON."""
    terms = [
        [name, *(f"{numbers[key]:.3g}" for key in ("mean", "std", "explained"))]
        for name, numbers in diagnostics["terms"].items()
    ]
    tables = [[["term", "mean", "std", "share of the variance"], *terms]]
    if "measures" in diagnostics:  # an ensemble has none of its own
        verdicts = [
            [name, item["verdict"], _number(item["value"]), _number(item["bound"])]
            for name, item in diagnostics["measures"].items()
        ]
        tables.append([["measure", "verdict", "value", "bound"], *verdicts])
    text = "\n\n".join(map(_aligned, tables))
    if "measures" not in diagnostics:
        return text
    said = [f"{name}: {item['sentence']}" for name, item in diagnostics["measures"].items()]
    return "\n".join([text, "", *said, "", f"verdict: {diagnostics['verdict']}"])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def run(values: dict[str, Any]) -> RunFolder:
    """Entry of the command line."""
    config = build(RewardConfig, values)
    made = reward(config)
    folder = made.path / "reward"
    if (folder / "reward.py").is_file():
        print((folder / "reward.py").read_text(encoding="utf-8").rstrip())
    if config.check:
        print(check_table(read_json(folder / "diagnostics.json")))
    print(
        f"reward kept in {folder}; use it with: embodied label DATA reward=saved path={made.path}"
    )
    return made
