"""Finds in an MJCF model what a robot is made of, and tells what the file lacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
import numpy.typing as npt

from embodied.errors import UserError
from embodied.types import FloatArray
from real_robot.limits import number

Indices = npt.NDArray[np.integer]


@dataclass(frozen=True)
class JointTable:
    """Where the joints of an arm are in a model's arrays, ``J`` entries each."""

    qpos: Indices
    qvel: Indices
    actuator: Indices
    low: FloatArray  # rad
    high: FloatArray  # rad


def load(scene: Path) -> mujoco.MjModel:
    """Load an MJCF file.

    Raises:
        UserError: The file is missing or MuJoCo refuses it.
    """
    if not scene.is_file():
        raise UserError(f"the robot's scene {scene} is missing; check the path")
    try:
        return mujoco.MjModel.from_xml_path(str(scene))
    except ValueError as error:
        raise UserError(f"MuJoCo cannot load {scene}: {error}; mend the file") from None


def physics_steps(model: mujoco.MjModel, control_hz: float) -> int:
    """Return how many physics steps a control period has.

    Raises:
        UserError: The rate is no positive number, or the period is no whole number of steps.
    """
    rate = number(control_hz)
    if rate is None or not 0 < rate < math.inf:
        raise UserError(f"control_hz is {control_hz!r}; it must be a positive number")
    steps = 1 / (rate * float(model.opt.timestep))
    if round(steps) < 1 or not math.isclose(steps, round(steps), rel_tol=1e-6):
        raise UserError(
            f"a control period of {1 / rate:g} s is no whole number of physics steps of "
            f"{model.opt.timestep:g} s; change control_hz or the scene's timestep"
        )
    return round(steps)


def joint_table(model: mujoco.MjModel, names: Sequence[str]) -> JointTable:
    """Find hinge joints that have a range and a position actuator.

    Raises:
        UserError: No joint is named, one is named twice, or one is not of that kind.
    """
    if not names or len(set(names)) != len(names):
        raise UserError(f"joints are {list(names)}; name each joint of the arm once")
    rows = [mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, name) for name in names]
    for name, row in zip(names, rows, strict=True):
        if row < 0 or model.jnt_type[row] != mujoco.mjtJoint.mjJNT_HINGE:
            raise UserError(f"the scene has no hinge joint {name!r}; check the robot's joints")
        if not model.jnt_limited[row]:
            raise UserError(f"joint {name!r} of the scene has no range; give it one")
    return JointTable(
        qpos=model.jnt_qposadr[rows],
        qvel=model.jnt_dofadr[rows],
        actuator=np.array([_position_actuator(model, row) for row in rows]),
        low=model.jnt_range[rows, 0],
        high=model.jnt_range[rows, 1],
    )


def _position_actuator(model: mujoco.MjModel, joint: int) -> int:
    for actuator in range(model.nu):
        stiffness = model.actuator_gainprm[actuator, 0]
        if (
            model.actuator_trntype[actuator] == mujoco.mjtTrn.mjTRN_JOINT
            and model.actuator_trnid[actuator, 0] == joint
            and model.actuator_biastype[actuator] == mujoco.mjtBias.mjBIAS_AFFINE
            and model.actuator_biasprm[actuator, 1] == -stiffness != 0
        ):
            return actuator
    name = model.joint(joint).name
    raise UserError(f"joint {name!r} of the scene has no position actuator; add one")


def free_bodies(model: mujoco.MjModel, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return name -> first index in qpos and in qvel of bodies with a free joint.

    Raises:
        UserError: There is no such body.
    """
    found: dict[str, tuple[int, int]] = {}
    for name in names:
        body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name)
        joint = int(model.body_jntadr[body]) if body >= 0 else -1
        if joint < 0 or model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_FREE:
            raise UserError(f"the scene has no free body {name!r}; check the robot's objects")
        found[name] = (int(model.jnt_qposadr[joint]), int(model.jnt_dofadr[joint]))
    return found


def mocap_index(model: mujoco.MjModel, name: str) -> int:
    """Return the row of a body in the mocap arrays.

    Raises:
        UserError: There is no mocap body of that name.
    """
    body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name)
    if body < 0 or model.body_mocapid[body] < 0:
        raise UserError(f"the scene has no mocap body {name!r} to show a goal; add one")
    return int(model.body_mocapid[body])
