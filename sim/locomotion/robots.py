"""Gymnasium's walking robots (MuJoCo, v5) as tables, and their named quantities on arrays.

The MJCF files are those of the installed gymnasium. Frame skip, starts, observation and action are
those of its v5 environments, save that the Ant is made without contact forces
(``include_cfrc_ext_in_observation=False``, as in v4): they would take a call per environment.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import numpy.typing as npt

from embodied.kinematics import Chain
from embodied.types import Array, Field
from sim.locomotion.fields import PLANAR_FIELDS, SPATIAL_FIELDS, UP

Float = npt.NDArray[np.float64]

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
VELOCITY_LIMIT = 10.0  # of observed velocities, where the robot's are clipped


@dataclass(frozen=True)
class WalkingRobot:
    """One of Gymnasium's robots.

    Its named state holds the fields of ``sim.locomotion.fields`` for its kind, ``torso_up``,
    ``joint_position`` and ``joint_velocity`` in the order of the action, and the feet.
    """

    asset: str  # MJCF file among gymnasium's
    frame_skip: int  # physics steps of a control step
    planar: bool  # whether it moves in the plane y = 0, with slides and a hinge for a root
    torques: str  # how strong an action of 1 is, for its documentation
    feet: Mapping[str, tuple[str, tuple[float, float, float], str]]  # geom, point, meaning
    start_noise: float  # half range of the uniform noise on qpos at the start
    gaussian_velocity: bool  # noise on qvel is normal with that deviation, else uniform like qpos
    clipped_velocity: bool  # whether observed velocities are clipped to +-10

    @cached_property
    def model(self) -> Any:
        """The compiled model, with a site at every foot."""
        spec = mujoco.MjSpec.from_file(str(ASSETS / self.asset))
        for name, (geom, point, _) in self.feet.items():
            spec.geom(geom).parent.add_site(name=name, pos=point)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "compiler attribute")  # of the file, not of ours
            return spec.compile()

    @cached_property
    def control_hz(self) -> float:
        """Control steps per second."""
        return float(1 / (self.frame_skip * self.model.opt.timestep))

    @cached_property
    def joints(self) -> tuple[str, ...]:
        """Names of the actuated joints, in the order of the action."""
        return tuple(self.model.joint(int(i)).name for i in self.model.actuator_trnid[:, 0])

    @cached_property
    def action(self) -> Field:
        """The action's documentation."""
        low, high = self.model.actuator_ctrlrange.T
        return Field(
            shape=(len(self.joints),),
            unit="1",
            meaning=f"Torques of the joints {', '.join(self.joints)}; {self.torques}.",
            low=tuple(low.tolist()),
            high=tuple(high.tolist()),
        )

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        """Every named quantity that ``state`` gives."""
        order = ", ".join(self.joints)
        joints = {
            f"joint_{kind}": Field((len(self.joints),), unit, f"{meaning} of {order}.")
            for kind, unit, meaning in (
                ("position", "rad", "Angles"),
                ("velocity", "rad/s", "Angular velocities"),
            )
        }
        feet = {
            name: Field((3,), "m", meaning, frame="world")
            for name, (_, _, meaning) in self.feet.items()
        }
        root = PLANAR_FIELDS if self.planar else SPATIAL_FIELDS
        return {**root, "torso_up": UP, **joints, **feet}

    @cached_property
    def _chains(self) -> Mapping[str, Chain]:
        feet = {name: Chain(self.model, site=name) for name in self.feet}
        return {"torso": Chain(self.model, body="torso"), **feet}

    @cached_property
    def _columns(self) -> tuple[list[int], list[int]]:
        joints = [self.model.joint(name) for name in self.joints]
        return [int(item.qposadr[0]) for item in joints], [int(item.dofadr[0]) for item in joints]

    def state(self, qpos: Float, qvel: Float) -> dict[str, Array]:
        """Return every field, float64 [N, ...], for qpos [N, nq] and qvel [N, nv]."""
        positions, velocities = self._columns
        root = _planar_root if self.planar else _free_root
        return {
            **root(self._chains["torso"], qpos, qvel),
            "joint_position": qpos[:, positions],
            "joint_velocity": qvel[:, velocities],
            **{name: self._chains[name].position(qpos) for name in self.feet},
        }

    def observe(self, qpos: Float, qvel: Float) -> Array:
        """Return Gymnasium's observation, float32 [N, O]: where the robot is, is left out."""
        if self.clipped_velocity:
            qvel = np.clip(qvel, -VELOCITY_LIMIT, VELOCITY_LIMIT)
        shown = (qpos[:, 1 if self.planar else 2 :], qvel)
        return np.concatenate(shown, axis=-1, dtype=np.float32, casting="same_kind")

    def start(self, rng: np.random.Generator) -> tuple[Float, Float]:
        """Return qpos [nq] and qvel [nv] of a new episode: the rest pose with noise."""
        noise, model = self.start_noise, self.model
        qpos = model.qpos0 + rng.uniform(-noise, noise, model.nq)
        if self.gaussian_velocity:
            return qpos, noise * rng.standard_normal(model.nv)
        return qpos, rng.uniform(-noise, noise, model.nv)


def _planar_root(torso: Chain, qpos: Float, qvel: Float) -> dict[str, Array]:
    """Return the fields of a torso whose root joints are x, z and pitch."""
    return {
        "torso_position": torso.position(qpos),
        "torso_velocity": np.stack([qvel[:, 0], np.zeros(len(qvel)), qvel[:, 1]], axis=-1),
        "torso_pitch": qpos[:, 2].copy(),
        "torso_pitch_velocity": qvel[:, 2].copy(),
        "torso_up": np.cos(qpos[:, 2]),
    }


def _free_root(torso: Chain, qpos: Float, qvel: Float) -> dict[str, Array]:
    """Return the fields of a torso that has a free joint."""
    position, rotation = torso.pose(qpos)
    return {
        "torso_position": position,
        "torso_velocity": qvel[:, :3].copy(),
        "torso_forward": rotation[:, :, 0].copy(),
        # MuJoCo gives a free joint's angular velocity in the body's own frame.
        "torso_angular_velocity": np.sum(rotation * qvel[:, None, 3:6], axis=-1),
        "torso_up": rotation[:, 2, 2].copy(),
    }


def hopper() -> WalkingRobot:
    """Return Gymnasium's Hopper-v5."""
    foot = "Position of the middle of the foot; its height is about 0.06 while it stands."
    return WalkingRobot(
        asset="hopper.xml",
        frame_skip=4,
        planar=True,
        torques="1 is 200 N m",
        feet={"foot_position": ("foot_geom", (-0.065, 0.0, 0.1), foot)},
        start_noise=5e-3,
        gaussian_velocity=False,
        clipped_velocity=True,
    )


def walker2d() -> WalkingRobot:
    """Return Gymnasium's Walker2d-v5."""
    right, left = (
        f"Position of the middle of the {side} foot; its height is about 0.06 while it stands."
        for side in ("right", "left")
    )
    return WalkingRobot(
        asset="walker2d_v5.xml",
        frame_skip=4,
        planar=True,
        torques="1 is 100 N m",
        feet={
            "right_foot_position": ("foot_geom", (-0.1, 0.0, 0.1), right),
            "left_foot_position": ("foot_left_geom", (-0.1, 0.0, 0.1), left),
        },
        start_noise=5e-3,
        gaussian_velocity=False,
        clipped_velocity=True,
    )


def half_cheetah() -> WalkingRobot:
    """Return Gymnasium's HalfCheetah-v5."""
    back, front = (f"Position of the middle of the {side} foot." for side in ("back", "front"))
    return WalkingRobot(
        asset="half_cheetah.xml",
        frame_skip=5,
        planar=True,
        torques="1 is 120, 90, 60, 120, 60 and 30 N m, in that order",
        feet={
            "back_foot_position": ("bfoot", (0.03, 0.0, -0.097), back),
            "front_foot_position": ("ffoot", (0.045, 0.0, -0.07), front),
        },
        start_noise=0.1,
        gaussian_velocity=True,
        clipped_velocity=False,
    )


def ant() -> WalkingRobot:
    """Return Gymnasium's Ant-v5 without contact forces."""
    # MJCF names of the shins in front, joint number, and the foot's place in the shin's frame.
    legs = {
        "front_left": ("left_ankle_geom", 1, (0.4, 0.4, 0.0)),
        "back_left": ("right_ankle_geom", 2, (-0.4, 0.4, 0.0)),
        "back_right": ("third_ankle_geom", 3, (-0.4, -0.4, 0.0)),
        "front_right": ("fourth_ankle_geom", 4, (0.4, -0.4, 0.0)),
    }
    return WalkingRobot(
        asset="ant.xml",
        frame_skip=5,
        planar=False,
        torques="1 is 150 N m",
        feet={
            f"{leg}_foot_position": (
                geom,
                point,
                f"Position of the tip of the {leg.replace('_', ' ')} leg, which has the joints "
                f"hip_{number} and ankle_{number}; its height is about 0.08 while it stands on it.",
            )
            for leg, (geom, number, point) in legs.items()
        },
        start_noise=0.1,
        gaussian_velocity=True,
        clipped_velocity=False,
    )
