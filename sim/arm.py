"""The simulation of a task on a robot arm: joint targets, free objects and a goal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mujoco
import numpy as np
import numpy.typing as npt

from embodied.types import Array, FloatArray, RobotTask
from sim.layout import Layout
from sim.physics import Physics
from sim.simulation import Moment


class ArmSimulation:
    """``num_envs`` scenes of a task whose actions move the targets of position servos.

    Args:
        task: The task; its scene is compiled here.
        num_envs: Number of environments, ``N``.
        threads: Threads that step the physics.

    Raises:
        UserError: The scene does not fit the task.
    """

    camera = "scene"

    def __init__(self, task: RobotTask, num_envs: int, threads: int) -> None:
        self._task = task
        self.model = mujoco.MjModel.from_xml_path(str(task.scene))
        self._layout = Layout(self.model, task)
        self.substeps = round(1 / (task.control_hz * self.model.opt.timestep))
        self._physics = Physics(self.model, num_envs, self.substeps, threads)
        self._joint_target = np.zeros((num_envs, len(task.joints)))
        self._goal = np.zeros((num_envs, 3))
        self._still_steps = np.zeros(num_envs, dtype=np.int64)

    def start(self, indices: npt.NDArray[np.intp], rngs: Sequence[np.random.Generator]) -> None:
        """Begin a new episode in some environments; environment ``i`` draws from ``rngs[i]``."""
        layout, physics = self._layout, self._physics.state
        physics[indices] = 0.0
        for index in indices:
            start = self._task.start(rngs[index])
            physics[index, layout.qpos] = start.qpos
            self._goal[index] = start.goal
        self._joint_target[indices] = physics[indices][:, layout.joint_position]
        self._still_steps[indices] = 0

    def advance(self, actions: FloatArray) -> None:
        """Take one control step with actions [N, A] within their bounds."""
        layout, physics = self._layout, self._physics
        self._joint_target = self._task.next_target(self._joint_target, actions)
        physics.control[:, :, layout.control] = self._joint_target[:, None]
        physics.step()
        path = physics.path.reshape(-1, layout.size)
        speed = self._task.speed(layout.measure(path, self._joint_target, self._goal))
        still = speed.reshape(physics.path.shape[:2]).max(axis=1) < self._task.still_speed
        self._still_steps = np.where(still, self._still_steps + 1, 0)

    def moment(self) -> Moment:
        """Return what is known now; no episode of such a task terminates."""
        measured = self._layout.measure(self._physics.state, self._joint_target, self._goal)
        state = self._task.state(measured)
        success = self._task.success(state, self._still_steps)
        terminated = np.zeros(len(success), dtype=np.bool_)
        return Moment(self._task.observe(state), state, success, terminated)

    def drawn(self, index: int) -> tuple[FloatArray, FloatArray | None]:
        """Return qpos [nq] and the goal [3] of one environment."""
        return self._physics.state[index, self._layout.qpos], self._goal[index]

    def get_state(self) -> dict[str, Array]:
        """Return copies of every array that decides the future."""
        return {
            "physics": self._physics.state.copy(),
            "joint_target": self._joint_target.copy(),
            "goal": self._goal.copy(),
            "still_steps": self._still_steps.copy(),
        }

    def set_state(self, state: Mapping[str, Array]) -> None:
        """Restore what ``get_state`` gave, in the same shapes."""
        self._physics.state[:] = state["physics"]
        self._joint_target = np.array(state["joint_target"], dtype=np.float64)
        self._goal[:] = state["goal"]
        self._still_steps = np.array(state["still_steps"], dtype=np.int64)

    def close(self) -> None:
        """Stop the threads."""
        self._physics.close()
