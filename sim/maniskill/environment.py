"""A ManiSkill task as the vector environment that the stages expect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.vector import VectorEnv

from embodied.errors import UserError, at_least
from embodied.types import Array, Transitions
from sim import infos
from sim.arguments import bounded_actions, declare_spaces, seeds_of
from sim.infos import Info
from sim.maniskill.simulator import CAMERA, Moment, choose_device, simulate, transitions
from sim.maniskill.task import ManiSkillTask

MAX_SEED = 2**32 - 1  # of NumPy's older generator, which ManiSkill uses


class ManiSkillEnv(VectorEnv):
    """``num_envs`` environments of one of ManiSkill's tasks.

    Observations, float32 [N, O], are those of ManiSkill's own "state" mode, so that policies can be
    compared with ManiSkill's. Actions [N, A] are in the units of its controller and clipped to the
    task's bounds. The reward is ManiSkill's own, dense where it has a dense one; nothing here takes
    it for a label. Infos carry ``success``, ManiSkill's own, and ``state``, the task's named
    fields; ``info["final_info"]`` carries the same for the last observation.

    Episodes end by the time limit alone (``truncated``), all in the same step, and are reset in it.
    ManiSkill itself ends them at the first success; here a success has to last, as in every other
    task, and a reward that pays for every step is not cut short by succeeding.

    On a CPU an environment's episodes depend on its seed and actions alone. On a GPU that holds for
    the start of an episode that was given a seed (not in ``maniskill_turn_faucet``); later starts
    depend on ``num_envs`` too.

    Attributes:
        task: The task.
        transitions: The last step as tensors on the simulator's device; None before the first.

    Args:
        task: The task.
        num_envs: Number of environments, ``N``.
        seed: Seed of the first reset that names none; environment ``i`` gets ``seed + i``.
        device: ``cpu`` or ``cuda``; a GPU where there is one when None.
        max_steps: Control steps of an episode; by default those of the task.

    Raises:
        UserError: A number is not positive, or ManiSkill, assets, a GPU or Vulkan are missing.
    """

    def __init__(
        self,
        task: ManiSkillTask,
        num_envs: int = 1,
        *,
        seed: int | None = None,
        device: str | None = None,
        max_steps: int | None = None,
    ) -> None:
        self.max_steps = task.max_steps if max_steps is None else max_steps
        at_least(1, {"num_envs": num_envs, "max_steps": self.max_steps})
        self.task = task
        self.num_envs = num_envs
        self.transitions: Transitions | None = None
        self._simulator = simulate(task, num_envs, choose_device(device))
        self._first_seed = seed
        self._now: Moment | None = None
        self._elapsed = 0
        declare_spaces(self, task.action, self._simulator.observation_size, task.control_hz)
        self._low = np.array(task.action.low, dtype=np.float32)
        self._high = np.array(task.action.high, dtype=np.float32)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: Info | None = None,
    ) -> tuple[Array, Info]:
        """Start a new episode everywhere.

        Args:
            seed: Environment ``i`` gets ``seed + i``, or its own entry of a sequence; with None it
                goes on with the generator it has.
            options: There are none.

        Returns:
            The observation, float32 [N, O], and the info.

        Raises:
            UserError: A seed is out of range, their number is not ``num_envs``, or options are
                given.
        """
        if options:
            raise UserError(f"reset takes no options here, got {', '.join(map(str, options))}")
        if seed is None and self._now is None:
            # ManiSkill's generators all begin with the same seed.
            drawn = int(np.random.default_rng().integers(2**31))
            seed = drawn if self._first_seed is None else self._first_seed
        seeds = seeds_of(seed, self.num_envs)
        largest = max((item for item in seeds if item is not None), default=0)
        if largest > MAX_SEED:
            raise UserError(f"the seed {largest} is too large for ManiSkill; stay below 2^32")
        self._start(seeds)
        return self._report()

    def _start(self, seeds: Sequence[int | None]) -> None:
        self._now = self._simulator.reset(seeds)
        self._elapsed = 0

    def _report(self) -> tuple[Array, Info]:
        assert self._now is not None
        state, success = _arrays(self._now)
        return _numpy(self._now.observation), infos.current(state, success)

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, Info]:
        """Take one control step everywhere.

        Args:
            actions: [N, A] in the action's own units; clipped to its bounds.

        Returns:
            Observation float32 [N, O], reward float64 [N], terminated and truncated bool [N], info.

        Raises:
            UserError: The actions have another shape or are not finite.
        """
        if self._now is None:
            raise UserError("call reset before the first step")
        device = self._simulator.device
        checked = bounded_actions(actions, self._low, self._high, self.num_envs)
        action = torch.as_tensor(checked, dtype=torch.float32, device=device)
        before = self._now
        self._now, reward = self._simulator.step(action)
        self._elapsed += 1
        truncated = np.full(self.num_envs, self._elapsed >= self.max_steps)
        self.transitions = transitions(
            before, action, self._now, torch.as_tensor(truncated, device=device)
        )
        final: Info = {}
        if truncated.any():
            state, success = _arrays(self._now)
            final = infos.final(_numpy(self._now.observation), state, success, truncated)
            self._start([None] * self.num_envs)
        observation, info = self._report()
        paid = _numpy(reward).astype(np.float64)
        return observation, paid, np.zeros_like(truncated), truncated, info | final

    def render(  # type: ignore[override]
        self, index: int | None = None, width: int = CAMERA[0], height: int = CAMERA[1]
    ) -> npt.NDArray[np.uint8] | tuple[npt.NDArray[np.uint8], ...]:
        """Return the camera image uint8 [H, W, 3] of one environment, or of all as a tuple.

        Raises:
            UserError: Another size than the camera's is asked for.
        """
        if (width, height) != CAMERA:
            raise UserError(f"ManiSkill's camera gives {CAMERA[0]} x {CAMERA[1]} pixels alone")
        if index is None:
            return tuple(self.render(i) for i in range(self.num_envs))  # type: ignore[misc]
        image: npt.NDArray[np.uint8] = _numpy(self._simulator.render(index))
        return image

    def close_extras(self, **kwargs: Any) -> None:
        """Free the scenes."""
        self._simulator.close()


def _arrays(moment: Moment) -> tuple[dict[str, Array], Array]:
    """Return the named fields [N, ...] and the success [N] as NumPy arrays."""
    return {name: _numpy(value) for name, value in moment.state.items()}, _numpy(moment.success)


def _numpy(tensor: Array) -> Any:
    return tensor.cpu().numpy()
