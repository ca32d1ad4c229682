"""ManiSkill's simulators as one batch of torch tensors: on a GPU one of them, on a CPU many.

On a CPU ManiSkill simulates one environment at a time. The ``N`` of them live in this process:
their fields and observations stay tensors that are joined without leaving it, which other
processes could only send as copies, and a step is so short that they would gain on many cores
alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from embodied.errors import UserError
from embodied.types import Array, Transitions
from sim.maniskill.quantities import measure
from sim.maniskill.task import ManiSkillTask

CAMERA = (480, 360)  # pixels, width and height of what ``render`` gives
NO_VULKAN = (
    "ManiSkill found no Vulkan device, which it needs to build a scene even where nothing is "
    "rendered; install a driver, on a machine without a GPU Mesa's software one: apt-get install "
    "mesa-vulkan-drivers (version 23 or newer; on Debian 12 from bookworm-backports)"
)


@dataclass(frozen=True)
class Moment:
    """What is known of every environment at one moment, as tensors on the simulator's device."""

    observation: Array  # float32 [N, O], ManiSkill's own "state" observation
    state: dict[str, Array]  # the task's named fields, float32 [N, ...]
    success: Array  # bool [N], ManiSkill's own evaluation


def transitions(before: Moment, action: Array, after: Moment, truncated: Array) -> Transitions:
    """Return a step as tensors on the simulator's device: what a reward scores there.

    Args:
        before: The moment before it.
        action: float32 [N, A], in the task's units.
        after: The moment after it, before any reset.
        truncated: bool [N].
    """
    return Transitions(
        observation=before.observation,
        action=action,
        next_observation=after.observation,
        terminated=torch.zeros_like(truncated),
        truncated=truncated,
        state=before.state,
        next_state=after.state,
        columns={"success": after.success},
    )


def simulate(task: ManiSkillTask, num_envs: int, device: str) -> Simulator:
    """Return ``num_envs`` environments of a task, simulated on ``cpu`` or ``cuda``.

    Raises:
        UserError: ManiSkill, its assets or a Vulkan driver are missing.
    """
    make = _maker(task, device)
    envs = [make(num_envs)] if device == "cuda" else [make(1) for _ in range(num_envs)]
    return Simulator(task, envs, torch.device(device))


class Simulator:
    """``N`` environments of a task.

    Args:
        task: The task.
        envs: ManiSkill's environments: one of ``N``, or ``N`` of one.
        device: Where their tensors are.

    Attributes:
        device: Where the tensors are.
        observation_size: Numbers in an observation.
    """

    def __init__(self, task: ManiSkillTask, envs: Sequence[Any], device: torch.device) -> None:
        self.device = device
        self._task = task
        self._envs = list(envs)
        # An environment of ManiSkill's gives [1, O] or [N, O] here.
        self.observation_size = int(self._envs[0].single_observation_space.shape[-1])
        low, high = (torch.tensor(item, device=self.device) for item in _bounds(task))
        self._middle, self._half = (low + high) / 2, (high - low) / 2

    def reset(self, seeds: Sequence[int | None]) -> Moment:
        """Begin new episodes everywhere; an environment without a seed goes on with its own.

        On a GPU seeded environments are begun one by one, since ManiSkill draws those of one call
        from one generator: so equal seeds give equal starts wherever they stand.
        """
        if len(self._envs) > 1:
            told = [
                env.reset(seed=None if seed is None else [seed])
                for env, seed in zip(self._envs, seeds, strict=True)
            ]
            return self._moment(*zip(*told, strict=True))
        (env,) = self._envs
        if None in seeds or not self._task.begins_alone:
            told = [env.reset(seed=None if None in seeds else list(seeds))]
        for index, seed in enumerate(seeds if self._task.begins_alone else ()):
            if seed is not None:
                where = {"env_idx": torch.tensor([index], device=self.device)}
                told = [env.reset(seed=[seed], options=where)]
        return self._moment(*zip(*told, strict=True))

    def step(self, action: Array) -> tuple[Moment, Array]:
        """Take a control step with actions [N, A] in the task's units.

        Returns:
            The moment after it and ManiSkill's own reward, float32 [N].
        """
        unit = (action - self._middle) / self._half  # ManiSkill's controllers take [-1, 1]
        parts = unit.split(1) if len(self._envs) > 1 else [unit]
        taken = [env.step(part) for env, part in zip(self._envs, parts, strict=True)]
        reward = torch.cat([item[1].reshape(-1) for item in taken]).float()
        return self._moment([item[0] for item in taken], [item[4] for item in taken]), reward

    def _moment(self, observations: Sequence[Array], told: Sequence[Any]) -> Moment:
        states = [measure(self._task.quantities, env) for env in self._envs]
        return Moment(
            torch.cat(tuple(observations)).float(),
            {name: torch.cat([item[name] for item in states]) for name in states[0]},
            torch.cat([item["success"].reshape(-1) for item in told]).bool(),
        )

    def render(self, index: int) -> Array:
        """Return ManiSkill's camera image of one environment, uint8 [H, W, 3]."""
        if len(self._envs) > 1:
            return self._envs[index].render()[0]
        return self._envs[0].render()[index]

    def close(self) -> None:
        """Free the scenes."""
        for env in self._envs:
            env.close()


def choose_device(device: str | None) -> str:
    """Return where to simulate: on a GPU where there is one, unless told otherwise.

    Raises:
        UserError: It is neither cpu nor cuda, or there is no GPU.
    """
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise UserError(f"env.device is {device!r}; it is cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("env.device is cuda and torch finds no CUDA device; say env.device=cpu")
    return device


def _bounds(task: ManiSkillTask) -> tuple[tuple[float, ...], tuple[float, ...]]:
    assert task.action.low is not None
    assert task.action.high is not None
    return task.action.low, task.action.high


def _maker(task: ManiSkillTask, device: str) -> Callable[[int], Any]:
    """Return what makes ManiSkill's environment of a task with that many sub-environments."""
    try:
        import gymnasium
        import mani_skill.envs
    except ImportError as error:
        raise UserError(
            f"{task.name} needs ManiSkill, which cannot be imported ({error}): "
            "pip install 'embodied-stack[maniskill]'"
        ) from None
    check_assets(task)
    # It advises on the speed of its own scenes, once per environment.
    mani_skill.logger.setLevel(logging.ERROR)

    def make(num_envs: int) -> Any:
        try:
            made = gymnasium.make(
                task.id,
                num_envs=num_envs,
                obs_mode="state",
                reward_mode=task.reward,
                control_mode=task.controller,
                render_mode="rgb_array",
                human_render_camera_configs={"width": CAMERA[0], "height": CAMERA[1]},
                sim_backend=f"physx_{device}",
                render_backend=f"sapien_{device}",
                enhanced_determinism=True,
            )
        except RuntimeError as error:
            if "rendering device" in str(error) or "vk::" in str(error):
                raise UserError(NO_VULKAN) from None
            raise
        # Without ManiSkill's wrapper for the time limit, since the adapter has its own.
        return made.unwrapped

    return make


def check_assets(task: ManiSkillTask) -> None:
    """Raise UserError where assets are missing; ManiSkill would ask on standard input instead."""
    from mani_skill.utils import assets
    from mani_skill.utils.registration import REGISTERED_ENVS

    for group in REGISTERED_ENVS[task.id].asset_download_ids or ():
        ids = (
            assets.expand_data_group_into_individual_data_source_ids(group)
            if group in assets.DATA_GROUPS
            else [group]
        )
        missing = [item for item in ids if not assets.is_data_source_downloaded(item)]
        if missing:
            raise UserError(
                f"{task.name} needs assets that are not there ({len(missing)} of {len(ids)} "
                f"models of {group}); download them with: "
                f"python -m mani_skill.utils.download_asset {group} -y"
            )
