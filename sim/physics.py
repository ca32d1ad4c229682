"""Rows of MuJoCo physics, stepped together by native threads."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from mujoco.rollout import Rollout


class Physics:
    """The physics state of ``N`` copies of a model, stepped by ``mujoco.rollout`` with a kept pool.

    Every step starts the constraint solver cold, so ``state`` alone decides what follows.

    Attributes:
        state: [N, 1 + nq + nv], each row time, qpos and qvel; whoever owns this may write into it.
        path: [N, substeps, 1 + nq + nv], the states after each substep of the last step.
        control: [N, substeps, nu], what the actuators are given in the next step.

    Args:
        model: ``mujoco.MjModel`` without activations and plugins.
        num_envs: ``N``.
        substeps: Physics steps of a control step.
        threads: Threads of the pool.
    """

    def __init__(self, model: Any, num_envs: int, substeps: int, threads: int) -> None:
        size, threads = 1 + model.nq + model.nv, min(threads, num_envs)
        self.state = np.zeros((num_envs, size))
        self.path = np.zeros((num_envs, substeps, size))
        self.control = np.zeros((num_envs, substeps, model.nu))
        # With one thread the pool is left out and physics runs on the calling thread.
        self._pool = Rollout(nthread=threads if threads > 1 else 0)
        self._data = [mujoco.MjData(model) for _ in range(threads)]
        self._models = [model] * num_envs
        self._sensors = np.zeros((num_envs, substeps, model.nsensordata))

    def step(self) -> None:
        """Take one control step in every row."""
        self._pool.rollout(
            self._models,
            self._data,
            self.state,
            self.control,
            nstep=self.path.shape[1],
            skip_checks=True,
            state=self.path,
            sensordata=self._sensors,
        )
        self.state[:] = self.path[:, -1]

    def close(self) -> None:
        """Stop the threads."""
        self._pool.close()
