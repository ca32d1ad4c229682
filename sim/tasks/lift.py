"""Grasp a cube, lift it off the table and hold it there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from embodied.types import Array, Field, Start
from sim import gripper, so101

# m, of the cube's centre: however the cube is turned, all of it is then 5 cm above the table.
LIFT_HEIGHT = 0.072
STILL_STEPS = 5  # control steps in a row that the cube has to be high and still: 0.5 s


class LiftTask:
    """Grasp the cube, lift it at least 5 cm above the table and hold it still.

    Success: through the last 0.5 s, at every physics step, the cube's centre was at least 7.2 cm
    above the table, so that all of the cube was 5 cm above it, and the cube was slower than 3 cm/s.
    At rest in the air it can only be held by the gripper, and friction alone holds it: to be sure,
    its centre has to be within 1.5 cm of the grasp point at the end.

    The cube, 2.5 cm and 20 g, starts 13-22 cm from the pan axis, within 0.8 rad of straight ahead
    and turned by at most 0.3 rad against the gripper that reaches for it with its roll joint at
    zero; the turn is not observed, the closing fingers undo it. The tip starts 5-9 cm above the
    table, anywhere in the same sector, gripper down and closed.
    """

    name = "lift"
    instruction = "lift the cube at least 5 cm above the table and hold it still"
    scene = so101.ASSETS / "so101_lift.xml"
    joints: tuple[str, ...] = so101.JOINTS
    objects: tuple[str, ...] = ("cube",)
    control_hz = so101.CONTROL_HZ
    max_steps = so101.MAX_STEPS
    behaviour = "scripted"
    still_speed = 0.03  # m/s, of the cube
    action = so101.ACTION
    fields: Mapping[str, Field] = {**gripper.FIELDS, **gripper.cube_fields("cube", "the cube")}

    @cached_property
    def arm(self) -> so101.Arm:
        """The arm's kinematics in this scene."""
        return so101.Arm(self.scene)

    @cached_property
    def pads(self) -> gripper.Pads:
        """The kinematics of the gripper's pads in this scene."""
        return gripper.Pads(self.arm)

    def start(self, rng: np.random.Generator) -> Start:
        """Draw the initial state of one episode; the goal is the lowest point above the cube."""
        place = so101.draw_on_table(rng)
        qpos = np.empty(len(self.joints) + 7)
        qpos[:6] = gripper.start_above_table(self.arm, rng)
        qpos[6:] = gripper.lying_cube(rng, place)
        return Start(qpos=qpos, goal=np.array([*place, LIFT_HEIGHT]))

    def state(self, measured: Mapping[str, Array]) -> dict[str, Array]:
        """Return every documented field, ``[N, *shape]`` float64, from what is measured."""
        return {
            "joint_position": measured["joint_position"],
            "joint_velocity": measured["joint_velocity"],
            "joint_target": measured["joint_target"],
            **self.pads.state(measured["joint_position"]),
            "cube_position": measured["cube_position"],
            "cube_velocity": measured["cube_velocity"],
        }

    def observe(self, state: Mapping[str, Array]) -> Array:
        """Return the policy's observation, float32 [N, 33].

        Joint positions, joint targets relative to them, the grasp point's and the cube's positions,
        the vector from the one to the other with its unit direction, its length and its horizontal
        length, the gripper's opening, how much the cube has still to rise, the cube's velocity, and
        whether the cube is between the fingers.
        """
        return np.concatenate(
            (
                state["joint_position"],
                state["joint_target"] - state["joint_position"],
                *gripper.reach_columns(state, "cube"),
                LIFT_HEIGHT - state["cube_position"][:, 2:],
                state["cube_velocity"],
            ),
            axis=-1,
            dtype=np.float32,
            casting="same_kind",
        )

    def speed(self, measured: Mapping[str, Array]) -> Array:
        """Return the cube's speed [N] in m/s; infinite where it is lower than the goal."""
        low = measured["cube_position"][:, 2] < measured["goal"][:, 2]
        return np.where(low, np.inf, so101.norm(measured["cube_velocity"]))

    def success(self, state: Mapping[str, Array], still_steps: Array) -> Array:
        """Return bool [N]: between the fingers, and high and still for long enough."""
        return gripper.holds(state, "cube") & (still_steps >= STILL_STEPS)

    def next_target(self, joint_target: Array, action: Array) -> Array:
        """Return the joint target [N, 6] that ``action`` commands, clipped to the joint ranges."""
        return so101.next_target(joint_target, action)
