"""Rows of MuJoCo physics state and the task's quantities in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import mujoco
import numpy as np

from embodied.errors import UserError
from embodied.types import Array, LazyColumns, RobotTask


class Layout:
    """Where a task's quantities lie in a row of physics state: time, qpos, qvel.

    Attributes:
        size: Numbers in a row.
        qpos: Columns of the configuration.
        joint_position: Columns of the task's joints.
        control: Columns of a row of actuator commands, in the order of the task's joints.

    Raises:
        UserError: The scene lacks a joint, an object or an actuator that the task names.
    """

    def __init__(self, model: Any, task: RobotTask) -> None:
        self.size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        if self.size != 1 + model.nq + model.nv:
            raise UserError(f"{task.scene} has activations or plugins; use plain position servos")
        velocity = 1 + model.nq
        self.qpos = slice(1, velocity)
        try:
            joints = [model.joint(name) for name in task.joints]
            bodies = [model.body(name) for name in task.objects]
        except KeyError as error:
            raise UserError(f"{task.scene} does not fit the task {task.name!r}: {error}") from None
        self.joint_position = _columns([1 + int(joint.qposadr[0]) for joint in joints])
        self._columns: dict[str, slice | list[int]] = {
            "joint_position": self.joint_position,
            "joint_velocity": _columns([velocity + int(joint.dofadr[0]) for joint in joints]),
        }
        for name, body in zip(task.objects, bodies, strict=True):
            start = 1 + int(model.jnt_qposadr[body.jntadr[0]])
            self._columns[f"{name}_position"] = slice(start, start + 3)
            start = velocity + int(body.dofadr[0])
            self._columns[f"{name}_velocity"] = slice(start, start + 3)
        drives = {int(joint): index for index, joint in enumerate(model.actuator_trnid[:, 0])}
        if set(drives) != {joint.id for joint in joints}:
            raise UserError(f"{task.scene} needs one actuator for each joint of {task.name!r}")
        self.control = _columns([drives[joint.id] for joint in joints])

    def measure(self, physics: Array, joint_target: Array, goal: Array) -> Mapping[str, Array]:
        """Return what a task calls ``measured``; each quantity is copied when it is read.

        Args:
            physics: [M, size]; M is a multiple of N when several moments of each environment follow
                one another.
            joint_target: [N, A] rad.
            goal: [N, 3] m.
        """
        moments = len(physics) // len(joint_target)
        readers: dict[str, Callable[[], Array]] = {
            name: partial(_copy, physics, columns) for name, columns in self._columns.items()
        }
        readers["joint_target"] = partial(np.repeat, joint_target, moments, axis=0)
        readers["goal"] = partial(np.repeat, goal, moments, axis=0)
        return LazyColumns(readers)


def _copy(physics: Array, columns: slice | list[int]) -> Array:
    return physics[:, columns].copy()


def _columns(indices: list[int]) -> slice | list[int]:
    """Return a slice, which is faster to read, where the indices are consecutive."""
    first = indices[0]
    return (
        slice(first, first + len(indices))
        if indices == list(range(first, first + len(indices)))
        else indices
    )
