"""Environments and tasks by config: the only way the stages reach a simulator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from embodied.config import build
from embodied.errors import UserError, at_least
from embodied.registry import names, resolve
from embodied.types import Field, RobotTask, Task


@dataclass(frozen=True)
class EnvConfig:
    """Which environment, and how many of it at once."""

    name: str  # short name of a task, or of another environment maker
    num_envs: int = 64  # sub-environments that are stepped together
    threads: int | None = None  # physics threads; every core when null (native tasks only)
    max_steps: int | None = None  # control steps of an episode; the task's own when null
    id: str | None = None  # Gymnasium id (env=gymnasium only)
    device: str | None = None  # cpu or cuda; a GPU where there is one when null (ManiSkill only)

    @property
    def title(self) -> str:
        """The name that datasets and results carry."""
        return self.id or self.name


def make_environment(config: EnvConfig, num_envs: int | None = None) -> Any:
    """Return the vector environment, with ``num_envs`` in place of the config's where given."""
    at_least(1, {"env.num_envs": config.num_envs, "env.max_steps": config.max_steps})
    native = config.name in names("task")
    if not native and config.name not in names("environment"):
        known = sorted({*names("task"), *names("environment")} - {"native"})
        raise UserError(f"unknown environment {config.name!r}; known: {', '.join(known)}")
    maker = resolve("environment", "native" if native else config.name)
    options: dict[str, Any] = {"num_envs": num_envs or config.num_envs}
    if config.max_steps is not None:
        options["max_steps"] = config.max_steps
    if config.id is not None:
        return maker(config.id, **options)
    if config.device is not None:
        options["device"] = config.device
    return maker(config.name, threads=config.threads, **options)


def make_task(name: str) -> Task | None:
    """Return the documented task of that name, or None for an environment without one."""
    return resolve("task", name)() if name in names("task") else None


def require_task(name: str) -> Task:
    """Return the documented task of that name.

    Raises:
        UserError: The environment documents no state fields, so no reward can be written for it.
    """
    task = make_task(name)
    if task is None:
        raise UserError(
            f"{name} documents no state fields, which this command needs; tasks with fields: "
            f"{', '.join(names('task'))} (README, 'Your own task', shows how to add one)"
        )
    return task


def require_robot_task(name: str) -> RobotTask:
    """Return the task of that name that a robot arm can be put to.

    Raises:
        UserError: The environment is no such task.
    """
    task = require_task(name)
    if not isinstance(task, RobotTask):
        arms = [item for item in names("task") if isinstance(make_task(item), RobotTask)]
        raise UserError(
            f"{name} is a task of a simulation alone, which no robot can be put to; tasks for "
            f"robots: {', '.join(arms)}"
        )
    return task


def describe_action(env: Any, task: Task | None) -> Field:
    """Return the action's documentation, from the task or else from the environment's space."""
    if task is not None:
        return task.action
    space = env.single_action_space
    if not hasattr(space, "low"):
        raise UserError(f"the action space {space} is not continuous; only Box actions are learnt")
    return Field(
        shape=space.shape,
        unit="1",
        meaning="the environment's action",
        low=tuple(float(value) for value in space.low),
        high=tuple(float(value) for value in space.high),
    )


def environment_from_json(value: Any) -> EnvConfig:
    """Read an EnvConfig back from the JSON of a dataset or a policy package.

    Raises:
        UserError: It is none.
    """
    return build(EnvConfig, value, "environment")
