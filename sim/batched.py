"""Many MuJoCo environments as one: physics in native threads, everything else on arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv

from embodied.errors import UserError
from embodied.processors import free_cores
from embodied.types import Array, RobotTask
from sim import infos
from sim.arguments import bounded_actions, declare_spaces, seeds_of
from sim.arm import ArmSimulation
from sim.infos import Info
from sim.locomotion.simulation import LocomotionSimulation
from sim.locomotion.task import LocomotionTask
from sim.simulation import Simulation


class BatchedMujocoEnv(VectorEnv):
    """``num_envs`` environments of one task, stepped by ``mujoco.rollout`` with a kept pool.

    Observations are float32 [N, O]; actions [N, A] are in the action's own units and clipped to
    its bounds; the reward is the sparse success, 1.0 when the task is done after the step and 0.0
    otherwise. Episodes end by their time limit (``truncated``) or because of what happened, where
    the task says so (``terminated``), and are reset in the same step, the last observation being
    ``info["final_obs"][i]``. Infos carry, for the observation that is returned, ``success`` bool
    [N] and ``state``, the task's named fields [N, ...]; ``info["final_info"]`` carries the same for
    the last observation.

    Every environment has its own random generator: its episodes depend on its seed and actions
    alone, not on ``num_envs`` or ``threads``. Every control step starts its constraint solver cold,
    so that a restored state continues bit for bit.

    Args:
        task: The task; its scene is compiled here.
        num_envs: Number of environments, ``N``.
        seed: Seed of the first reset that names none; environment ``i`` gets ``seed + i``.
        threads: Threads that step the physics; by default one per core that is free to use.
        max_steps: Control steps of an episode; by default those of the task.

    Raises:
        UserError: A number is not positive, or the scene does not fit the task.
    """

    def __init__(
        self,
        task: RobotTask | LocomotionTask,
        num_envs: int = 1,
        *,
        seed: int | None = None,
        threads: int | None = None,
        max_steps: int | None = None,
    ) -> None:
        threads = free_cores() if threads is None else threads
        self.max_steps = task.max_steps if max_steps is None else max_steps
        for name, value in (
            ("num_envs", num_envs),
            ("threads", threads),
            ("max_steps", self.max_steps),
        ):
            if value < 1:
                raise UserError(f"{name} is {value}; it must be at least 1")
        self.task = task
        self.num_envs = num_envs
        self._simulation: Simulation = (
            LocomotionSimulation(task, num_envs, threads)
            if isinstance(task, LocomotionTask)
            else ArmSimulation(task, num_envs, threads)
        )
        self.model, self.substeps = self._simulation.model, self._simulation.substeps
        self._first_seed = seed
        self._rngs: list[np.random.Generator] = []
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        width = self._simulation.moment().observation.shape[1]
        declare_spaces(self, task.action, width, task.control_hz)
        self._low = np.array(task.action.low, dtype=np.float32)
        self._high = np.array(task.action.high, dtype=np.float32)
        self._renderer: Any = None

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
            UserError: A seed is negative, their number is not ``num_envs``, or options are given.
        """
        if options:
            raise UserError(f"reset takes no options here, got {', '.join(map(str, options))}")
        self._seed(seed)
        self._start(np.arange(self.num_envs))
        now = self._simulation.moment()
        return now.observation, infos.current(now.state, now.success)

    def _seed(self, seed: int | Sequence[int | None] | None) -> None:
        if not self._rngs:
            self._rngs = [np.random.default_rng() for _ in range(self.num_envs)]
            seed = self._first_seed if seed is None else seed
        for index, value in enumerate(seeds_of(seed, self.num_envs)):
            if value is not None:
                self._rngs[index] = np.random.default_rng(value)

    def _start(self, indices: npt.NDArray[np.intp]) -> None:
        self._simulation.start(indices, self._rngs)
        self._elapsed[indices] = 0

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, Info]:
        """Take one control step everywhere.

        Args:
            actions: [N, A] in the action's own units; clipped to its bounds.

        Returns:
            Observation float32 [N, O], reward float64 [N], terminated and truncated bool [N], info.

        Raises:
            UserError: The actions have another shape or are not finite.
        """
        self._simulation.advance(self._checked(actions))
        self._elapsed += 1
        now = self._simulation.moment()
        reward = now.success.astype(np.float64)
        terminated, truncated = now.terminated, self._elapsed >= self.max_steps
        ended = terminated | truncated
        final: Info = {}
        if ended.any():
            final = infos.final(now.observation, now.state, now.success, ended)
            self._start(np.flatnonzero(ended))
            now = self._simulation.moment()
        info = infos.current(now.state, now.success) | final
        return now.observation, reward, terminated, truncated, info

    def _checked(self, actions: Array) -> Array:
        if not self._rngs:
            raise UserError("call reset before the first step")
        return bounded_actions(actions, self._low, self._high, self.num_envs)

    def get_state(self) -> dict[str, Any]:
        """Return everything that decides the future: arrays, and ``rng`` as JSON values."""
        return {
            **self._simulation.get_state(),
            "elapsed": self._elapsed.copy(),
            "rng": [rng.bit_generator.state for rng in self._rngs],
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore what ``get_state`` gave; the same actions then give the same trajectory.

        Raises:
            UserError: The state is of another task or of another number of environments.
        """
        own = {key: value for key, value in self.get_state().items() if key != "rng"}
        for name, value in own.items():
            if np.shape(state.get(name, ())) != value.shape:
                raise UserError(
                    f"the saved state's {name} has the shape {np.shape(state.get(name, ()))}, "
                    f"expected {value.shape}: it is of another task or number of environments"
                )
        self._simulation.set_state(state)
        self._elapsed[:] = state["elapsed"]
        self._rngs = [np.random.default_rng() for _ in state["rng"]]
        for rng, saved in zip(self._rngs, state["rng"], strict=True):
            rng.bit_generator.state = saved

    def render(  # type: ignore[override]
        self, index: int | None = None, width: int = 320, height: int = 240
    ) -> npt.NDArray[np.uint8] | tuple[npt.NDArray[np.uint8], ...]:
        """Return the camera image uint8 [H, W, 3] of one environment, or of all as a tuple."""
        from embodied.render import Renderer

        if index is None:
            return tuple(self.render(i, width, height) for i in range(self.num_envs))  # type: ignore[misc]
        if self._renderer is None or self._renderer.size != (width, height):
            if self._renderer is not None:
                self._renderer.close()
            self._renderer = Renderer(self.model, width, height)
        qpos, mocap = self._simulation.drawn(index)
        image: npt.NDArray[np.uint8] = self._renderer.render(qpos, mocap, self._simulation.camera)
        return image

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the threads and free the renderer."""
        self._simulation.close()
        if self._renderer is not None:
            self._renderer.close()
