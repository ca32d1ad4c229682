"""Put a cube on another one and let it go."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import numpy as np

from embodied.types import Array, Field, Start
from sim import gripper, so101

MAX_STEPS = 80
CUBE_DISTANCE = 0.07  # m, smallest one between the cubes at the start
SIDEWAYS = gripper.CUBE_SIZE / 2  # m, beyond it the cube's centre is not above the base cube
RESTING = 0.003  # m, by which heights may differ from those of cubes that rest
RELEASE_OPENING = 0.035  # m, at which neither finger touches the cube any more
RELEASE_HEIGHT = 0.04  # m, of the grasp point above the cube's centre: fingers clear of its top
STILL_STEPS = 5  # control steps in a row that both cubes have to be still: 0.5 s


class StackTask:
    """Put the cube on the base cube, let it go and take the gripper away.

    Success: the cube's centre is one edge above that of the base cube within 3 mm and less than
    half an edge beside it; the base cube lies on the table; both cubes were slower than 1 cm/s
    through the last 0.5 s, at every physics step; and the gripper has let go: it is open by more
    than 3.5 cm with its grasp point at least 4 cm above the cube's centre, so that its fingers end
    above the cube.

    The cubes, 2.5 cm and 20 g, start at least 7 cm apart, 13-22 cm from the pan axis, within
    0.8 rad of straight ahead and turned by at most 0.3 rad against the gripper that reaches for
    them with its roll joint at zero; the turn is not observed, the closing fingers undo it. The tip
    starts 5-9 cm above the table, anywhere in the same sector, gripper down and closed. An episode
    has 80 control steps.
    """

    name = "stack"
    instruction = "put the cube on top of the base cube and let it go"
    scene = so101.ASSETS / "so101_stack.xml"
    joints: tuple[str, ...] = so101.JOINTS
    objects: tuple[str, ...] = ("cube", "base_cube")
    control_hz = so101.CONTROL_HZ
    max_steps = MAX_STEPS
    behaviour = "scripted"
    still_speed = 0.01  # m/s, of both cubes
    action = so101.ACTION
    fields: Mapping[str, Field] = {
        **gripper.FIELDS,
        **gripper.cube_fields("cube", "the cube that is to be moved"),
        **gripper.cube_fields("base_cube", "the base cube, which is to be stacked on"),
    }

    @cached_property
    def arm(self) -> so101.Arm:
        """The arm's kinematics in this scene."""
        return so101.Arm(self.scene)

    @cached_property
    def pads(self) -> gripper.Pads:
        """The kinematics of the gripper's pads in this scene."""
        return gripper.Pads(self.arm)

    def start(self, rng: np.random.Generator) -> Start:
        """Draw the initial state of one episode; the goal is the place on top of the base cube."""
        while True:
            place, base = so101.draw_on_table(rng), so101.draw_on_table(rng)
            if math.dist(place, base) >= CUBE_DISTANCE:
                break
        qpos = np.empty(len(self.joints) + 14)
        qpos[:6] = gripper.start_above_table(self.arm, rng)
        qpos[6:13] = gripper.lying_cube(rng, place)
        qpos[13:] = gripper.lying_cube(rng, base)
        return Start(qpos=qpos, goal=np.array([*base, gripper.CUBE_HEIGHT + gripper.CUBE_SIZE]))

    def state(self, measured: Mapping[str, Array]) -> dict[str, Array]:
        """Return every documented field, ``[N, *shape]`` float64, from what is measured."""
        return {
            "joint_position": measured["joint_position"],
            "joint_velocity": measured["joint_velocity"],
            "joint_target": measured["joint_target"],
            **self.pads.state(measured["joint_position"]),
            "cube_position": measured["cube_position"],
            "cube_velocity": measured["cube_velocity"],
            "base_cube_position": measured["base_cube_position"],
            "base_cube_velocity": measured["base_cube_velocity"],
        }

    def observe(self, state: Mapping[str, Array]) -> Array:
        """Return the policy's observation, float32 [N, 49].

        Joint positions, joint targets relative to them, the grasp point's and the cube's positions,
        the vector from the one to the other with its unit direction, its length and its horizontal
        length, the gripper's opening, whether the cube is between the fingers, the base cube's
        position, the vector from the cube to its place on the base cube with its unit direction,
        its length and its horizontal length, and both cubes' velocities.
        """
        place = state["base_cube_position"] + (0.0, 0.0, gripper.CUBE_SIZE)
        return np.concatenate(
            (
                state["joint_position"],
                state["joint_target"] - state["joint_position"],
                *gripper.reach_columns(state, "cube"),
                state["base_cube_position"],
                *gripper.way_columns(place - state["cube_position"]),
                state["cube_velocity"],
                state["base_cube_velocity"],
            ),
            axis=-1,
            dtype=np.float32,
            casting="same_kind",
        )

    def speed(self, measured: Mapping[str, Array]) -> Array:
        """Return the larger speed [N] of the two cubes in m/s."""
        return np.maximum(
            so101.norm(measured["cube_velocity"]), so101.norm(measured["base_cube_velocity"])
        )

    def success(self, state: Mapping[str, Array], still_steps: Array) -> Array:
        """Return bool [N]: stacked, let go, and still for long enough."""
        cube, base = state["cube_position"], state["base_cube_position"]
        offset = cube - base
        stacked = (
            (np.abs(offset[:, 2] - gripper.CUBE_SIZE) <= RESTING)
            & (so101.norm(offset[:, :2]) < SIDEWAYS)
            & (np.abs(base[:, 2] - gripper.CUBE_HEIGHT) <= RESTING)
        )
        released = (state["gripper_opening"] > RELEASE_OPENING) & (
            state["grasp_position"][:, 2] - cube[:, 2] >= RELEASE_HEIGHT
        )
        return stacked & released & (still_steps >= STILL_STEPS)

    def next_target(self, joint_target: Array, action: Array) -> Array:
        """Return the joint target [N, 6] that ``action`` commands, clipped to the joint ranges."""
        return so101.next_target(joint_target, action)
