"""The simulation of a locomotion task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from embodied.types import Array, FloatArray
from sim.locomotion.task import LocomotionTask
from sim.physics import Physics
from sim.simulation import Moment


class LocomotionSimulation:
    """``num_envs`` robots whose actions are torques.

    Args:
        task: The task.
        num_envs: Number of environments, ``N``.
        threads: Threads that step the physics.
    """

    camera = "track"

    def __init__(self, task: LocomotionTask, num_envs: int, threads: int) -> None:
        self._task, self.model = task, task.robot.model
        self.substeps = task.robot.frame_skip
        self._physics = Physics(self.model, num_envs, self.substeps, threads)
        self._physics.state[:, self._qpos] = self.model.qpos0
        self._state = self._measure()
        self._progress = task.judge.begin(self._state)

    @property
    def _qpos(self) -> slice:
        return slice(1, 1 + self.model.nq)

    @property
    def _qvel(self) -> slice:
        return slice(1 + self.model.nq, None)

    def _measure(self) -> dict[str, Array]:
        physics = self._physics.state
        return self._task.robot.state(physics[:, self._qpos], physics[:, self._qvel])

    def start(self, indices: npt.NDArray[np.intp], rngs: Sequence[np.random.Generator]) -> None:
        """Begin a new episode in some environments; environment ``i`` draws from ``rngs[i]``."""
        physics = self._physics.state
        physics[indices] = 0.0
        for index in indices:
            qpos, qvel = self._task.robot.start(rngs[index])
            physics[index, self._qpos], physics[index, self._qvel] = qpos, qvel
        self._state = self._measure()
        fresh = self._task.judge.begin(self._state)
        for name, values in self._progress.items():
            values[indices] = fresh[name][indices]

    def advance(self, actions: FloatArray) -> None:
        """Take one control step with actions [N, A] within their bounds."""
        self._physics.control[:] = actions[:, None]
        self._physics.step()
        self._state = self._measure()
        self._progress = self._task.judge.follow(self._progress, self._state)

    def moment(self) -> Moment:
        """Return what is known now."""
        physics, judge = self._physics.state, self._task.judge
        observation = self._task.observe(physics[:, self._qpos], physics[:, self._qvel])
        success = judge.success(self._progress, self._state)
        return Moment(observation, self._state, success, judge.failed(self._state))

    def drawn(self, index: int) -> tuple[FloatArray, FloatArray | None]:
        """Return qpos [nq] of one environment; there are no mocap bodies."""
        return self._physics.state[index, self._qpos], None

    def get_state(self) -> dict[str, Array]:
        """Return copies of every array that decides the future."""
        progress = {f"progress.{name}": item.copy() for name, item in self._progress.items()}
        return {"physics": self._physics.state.copy(), **progress}

    def set_state(self, state: Mapping[str, Array]) -> None:
        """Restore what ``get_state`` gave, in the same shapes."""
        self._physics.state[:] = state["physics"]
        self._state = self._measure()
        self._progress = {
            name: np.array(state[f"progress.{name}"], np.float64) for name in self._progress
        }

    def close(self) -> None:
        """Stop the threads."""
        self._physics.close()
