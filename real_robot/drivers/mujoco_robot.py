"""A robot that is a MuJoCo simulation: the plant is an MJCF file, given as data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

from embodied.errors import UserError
from embodied.types import Field, FloatArray
from real_robot.clock import Clock, LockStepClock, MonotonicClock
from real_robot.drivers import mjcf
from real_robot.limits import number

GOAL_BODY = "target"  # the mocap body that shows an episode's goal


@dataclass(frozen=True)
class MujocoRobotConfig:
    """The plant and how its time runs."""

    scene: Path  # MJCF file
    joints: tuple[str, ...]  # hinge joints that have a position actuator, in action order
    objects: tuple[str, ...] = ()  # bodies with a free joint whose pose is reported as tracked
    control_hz: float = 10.0  # commands per second; a control period is whole physics steps
    real_time: bool = False  # False: lock step, time advances only when an action is sent
    name: str = "mujoco"  # what messages call the robot


class MujocoRobot:
    """Implements ``embodied.types.Robot`` on a MuJoCo model.

    In lock step each action advances the physics by one control period and nothing else does, so a
    run is reproducible. In real time the physics follows ``time.monotonic``: whatever has passed
    since the last call is simulated when the next one comes, on an absolute schedule, which gives
    the same motion as a thread would because the targets do not change in between.

    The objects' poses are read from the simulation. A real arm has no such sensor: there they need
    a tracker, or a policy that acts on pixels.

    End state of ``disconnect``: the servos keep holding the last commanded targets, since an arm
    that loses torque falls. ``connect`` goes on from there.

    Args:
        config: The plant and its clock; the model is loaded at once, so that features are known
            before connection.

    Raises:
        UserError: The file cannot be loaded, or a joint, actuator or body in it is not as needed.
    """

    clock: Clock

    def __init__(self, config: MujocoRobotConfig) -> None:
        self.name = config.name
        self.control_hz = config.control_hz
        self.joints = tuple(config.joints)
        self.objects = tuple(config.objects)
        self.real_time = config.real_time
        self._scene = Path(config.scene)
        self._model = mjcf.load(self._scene)
        self._data = mujoco.MjData(self._model)
        self._substeps = mjcf.physics_steps(self._model, config.control_hz)
        self._table = mjcf.joint_table(self._model, self.joints)
        self._free = mjcf.free_bodies(self._model, self.objects)
        self._connected = False
        self._started_at = 0.0  # monotonic time of the physics' time zero
        self._renderers: dict[tuple[int, int], Any] = {}
        self.clock = MonotonicClock() if self.real_time else LockStepClock(self._physics_time)
        mujoco.mj_forward(self._model, self._data)
        self._data.ctrl[self._table.actuator] = self._data.qpos[self._table.qpos]

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> MujocoRobot:
        """Make a robot from a config's plain values.

        Raises:
            UserError: A key is unknown or a needed one is missing, or as for the class.
        """
        known = {field.name for field in fields(MujocoRobotConfig)}
        unknown = sorted(set(values) - known)
        missing = sorted({"scene", "joints"} - set(values))
        if unknown or missing:
            wrong = f"lacks {', '.join(missing)}" if missing else f"has unknown {unknown}"
            raise UserError(f"the robot's config {wrong}; known keys: {', '.join(sorted(known))}")
        if not isinstance(values.get("real_time", False), bool):
            raise UserError(f"real_time is {values['real_time']!r}; it must be true or false")
        lists = {key: tuple(values[key]) for key in ("joints", "objects") if key in values}
        return cls(MujocoRobotConfig(**{**values, **lists, "scene": Path(values["scene"])}))

    @property
    def observation_features(self) -> dict[str, Field]:
        """Every key of an observation."""
        features: dict[str, Field] = {}
        for name, low, high in self._ranges():
            features[f"{name}.pos"] = Field((), "rad", f"angle of {name}", "", (low,), (high,))
            features[f"{name}.vel"] = Field((), "rad/s", f"speed of {name}")
        for name in self.objects:
            features[f"{name}.position"] = Field((3,), "m", f"position of {name}", "world")
            features[f"{name}.velocity"] = Field((3,), "m/s", f"velocity of {name}", "world")
        features["time"] = Field((), "s", "when it was measured, on the robot's monotonic clock")
        return features

    @property
    def action_features(self) -> dict[str, Field]:
        """Every key of an action, with the joint's range."""
        return {
            f"{name}.pos": Field((), "rad", f"target angle of {name}", "", (low,), (high,))
            for name, low, high in self._ranges()
        }

    @property
    def is_connected(self) -> bool:
        """Whether ``connect`` was called and ``disconnect`` was not since."""
        return self._connected

    def place(self, qpos: FloatArray, goal: FloatArray | None = None) -> None:
        """Put the plant at rest into a state, before connecting or between episodes.

        The servos hold the new joint positions. Time goes on, since no clock here ever goes back.

        Args:
            qpos: The whole model's positions, [nq] m, rad and quaternions.
            goal: Position of the mocap body "target", [3] m, world; None leaves it where it is.

        Raises:
            UserError: A shape is wrong, a number is not finite, or there is no such body.
        """
        qpos = np.asarray(qpos, np.float64)
        if qpos.shape != (self._model.nq,) or not np.isfinite(qpos).all():
            raise UserError(
                f"qpos must be {self._model.nq} finite numbers for {self._scene.name}, "
                f"got shape {qpos.shape}; use a start drawn for this scene"
            )
        self._follow_clock()
        now, mocap = self._data.time, self._data.mocap_pos.copy()
        if goal is not None:
            mocap[mjcf.mocap_index(self._model, GOAL_BODY)] = _vector(goal)
        mujoco.mj_resetData(self._model, self._data)
        self._data.time = now
        self._data.qpos[:] = qpos
        self._data.mocap_pos[:] = mocap
        self._data.ctrl[self._table.actuator] = qpos[self._table.qpos]
        mujoco.mj_forward(self._model, self._data)

    def connect(self) -> None:
        """Switch on; in real time the physics runs from here.

        Raises:
            UserError: It is connected already.
        """
        if self._connected:
            raise UserError(f"robot {self.name!r} is connected already; disconnect it first")
        self._started_at = self.clock.now() - self._data.time
        self._connected = True

    def disconnect(self) -> None:
        """Leave the arm holding its last targets and close; safe to call twice."""
        if self._connected:
            self._follow_clock()
        self._connected = False
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def get_observation(self) -> dict[str, Any]:
        """Return the newest measurement; keys and units as in ``observation_features``."""
        self._need_connection()
        self._follow_clock()
        data = self._data
        observation: dict[str, Any] = {}
        addresses = zip(self.joints, self._table.qpos, self._table.qvel, strict=True)
        for name, position, velocity in addresses:
            observation[f"{name}.pos"] = float(data.qpos[position])
            observation[f"{name}.vel"] = float(data.qvel[velocity])
        for name, (position, velocity) in self._free.items():
            observation[f"{name}.position"] = data.qpos[position : position + 3].copy()
            # The linear part of a free joint's velocity is in the world frame.
            observation[f"{name}.velocity"] = data.qvel[velocity : velocity + 3].copy()
        observation["time"] = self._started_at + data.time if self.real_time else data.time
        return observation

    def send_action(self, action: Mapping[str, float]) -> dict[str, float]:
        """Command joint targets; in lock step simulate one control period.

        Args:
            action: ``<joint>.pos`` -> rad; outside the joint's range it is clamped to it.

        Returns:
            The targets that the servos were given, rad.

        Raises:
            UserError: It is not connected, or the action's keys or numbers are not as declared.
        """
        self._need_connection()
        values = [number(action.get(f"{name}.pos")) for name in self.joints]
        if len(action) != len(values) or any(v is None or not math.isfinite(v) for v in values):
            expected = ", ".join(f"{name}.pos" for name in self.joints)
            raise UserError(f"an action is one finite number, in rad, for each of {expected}")
        self._follow_clock()
        targets = np.clip(np.array(values, np.float64), self._table.low, self._table.high)
        self._data.ctrl[self._table.actuator] = targets
        if not self.real_time:
            self._step(self._substeps)
        return {f"{name}.pos": float(v) for name, v in zip(self.joints, targets, strict=True)}

    def render(
        self, camera: str = "scene", width: int = 320, height: int = 240
    ) -> npt.NDArray[np.uint8]:
        """Return a picture [height, width, 3] of the plant.

        Raises:
            UserError: No way to render was found on this machine, or there is no such camera.
        """
        from embodied.render import Renderer

        size = (width, height)
        if size not in self._renderers:
            self._renderers[size] = Renderer(self._model, width, height)
        picture: npt.NDArray[np.uint8] = self._renderers[size].render(
            self._data.qpos, self._data.mocap_pos, camera
        )
        return picture

    def _ranges(self) -> Iterator[tuple[str, float, float]]:
        table = self._table
        return zip(self.joints, table.low.tolist(), table.high.tolist(), strict=True)

    def _physics_time(self) -> float:
        return float(self._data.time)

    def _need_connection(self) -> None:
        if not self._connected:
            raise UserError(f"robot {self.name!r} is not connected; call connect first")

    def _follow_clock(self) -> None:
        if self.real_time and self._connected:
            behind = self.clock.now() - self._started_at - self._data.time
            self._step(math.floor(behind / self._model.opt.timestep))

    def _step(self, steps: int) -> None:
        if steps <= 0:
            return
        before = self._data.time
        mujoco.mj_step(self._model, self._data, steps)
        # MuJoCo answers numbers that blow up by resetting, which puts time back to zero.
        if self._data.time <= before or self._data.warning[mujoco.mjtWarning.mjWARN_BADQACC].number:
            raise RuntimeError(
                f"the physics of {self._scene.name} diverged; use a shorter timestep"
            )


def _vector(goal: FloatArray) -> FloatArray:
    value: FloatArray = np.asarray(goal, np.float64)
    if value.shape != (3,) or not np.isfinite(value).all():
        raise UserError(f"a goal is three finite numbers in m, got {goal!r}")
    return value
