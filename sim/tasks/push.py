"""Push a cube over the table until it rests on a target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import numpy as np

from embodied.types import Array, Field, Start
from sim import so101

CUBE_SIZE = 0.03  # m, edge
CUBE_HEIGHT = CUBE_SIZE / 2  # m, of its centre when it lies on the table
TIP_HEIGHT = 0.02  # m, at the start
TARGET_DISTANCE = (0.08, 0.15)  # m, from the cube's start
TIP_DISTANCE = 0.045  # m, smallest one from the cube at the start
SUCCESS_DISTANCE = 0.03  # m, cube to target
STILL_STEPS = 5  # control steps in a row that the cube has to be still: 0.5 s


class PushTask:
    """Push the cube onto the target and leave it there.

    Success: the cube's centre is within 3 cm of the target and the cube was slower than 1 cm/s
    through the last 0.5 s. Cube and target start 13-22 cm from the pan axis, within 0.8 rad of
    straight ahead and 8-15 cm apart; the tip starts 2 cm above the table, gripper down and at least
    4.5 cm from the cube.
    """

    name = "push"
    instruction = "push the cube onto the target"
    scene = so101.ASSETS / "so101_push.xml"
    joints: tuple[str, ...] = so101.JOINTS
    objects: tuple[str, ...] = ("cube",)
    control_hz = so101.CONTROL_HZ
    max_steps = so101.MAX_STEPS
    behaviour = "scripted"
    still_speed = 0.01  # m/s, of the cube
    action = so101.ACTION
    fields: Mapping[str, Field] = {
        **so101.FIELDS,
        "cube_position": Field(
            shape=(3,),
            unit="m",
            meaning=(
                "Position (x, y, z) of the centre of the cube, whose edge is 0.03 m; z is 0.015 "
                "while it lies on the table."
            ),
            frame="world",
        ),
        "cube_velocity": Field(
            shape=(3,), unit="m/s", meaning="Velocity of the cube's centre.", frame="world"
        ),
        "target_position": Field(
            shape=(3,),
            unit="m",
            meaning=(
                "Where the cube's centre should come to rest; constant through an episode, with "
                "z = 0.015, between 0.08 m and 0.15 m from the cube's start."
            ),
            frame="world",
        ),
    }

    @cached_property
    def arm(self) -> so101.Arm:
        """The arm's kinematics in this scene."""
        return so101.Arm(self.scene)

    def start(self, rng: np.random.Generator) -> Start:
        """Draw the initial state of one episode."""
        while True:
            cube, goal = so101.draw_on_table(rng), so101.draw_on_table(rng)
            if TARGET_DISTANCE[0] <= math.dist(cube, goal) <= TARGET_DISTANCE[1]:
                break
        while True:
            tip = so101.draw_on_table(rng)
            if math.dist(tip, cube) >= TIP_DISTANCE:
                break
        turn = rng.uniform(-np.pi, np.pi) / 2
        qpos = np.empty(len(self.joints) + 7)
        qpos[:6] = self.arm.inverse.start((*tip, TIP_HEIGHT))
        qpos[6:] = (*cube, CUBE_HEIGHT, np.cos(turn), 0.0, 0.0, np.sin(turn))
        return Start(qpos=qpos, goal=np.array([*goal, CUBE_HEIGHT]))

    def state(self, measured: Mapping[str, Array]) -> dict[str, Array]:
        """Return every documented field, ``[N, *shape]`` float64, from what is measured."""
        return {
            "joint_position": measured["joint_position"],
            "joint_velocity": measured["joint_velocity"],
            "joint_target": measured["joint_target"],
            "tip_position": self.arm.tip_position(measured["joint_position"]),
            "cube_position": measured["cube_position"],
            "cube_velocity": measured["cube_velocity"],
            "target_position": measured["goal"],
        }

    def observe(self, state: Mapping[str, Array]) -> Array:
        """Return the policy's observation, float32 [N, 40].

        Joint positions, joint targets relative to them, the tip's, cube's and target's positions,
        the vectors tip to cube and cube to target with their unit directions and lengths, the tip
        along and across the line from cube to target, and the cube's velocity. Unit directions and
        lengths are what an offline learner separates good from bad pushes by.
        """
        tip, cube, target = state["tip_position"], state["cube_position"], state["target_position"]
        to_cube, to_target = cube - tip, target - cube
        reach, push = so101.norm(to_cube), so101.norm(to_target)
        reach_direction = so101.direction(to_cube, reach)
        push_direction = so101.direction(to_target, push)
        x, y = push_direction[:, 0], push_direction[:, 1]
        along = -(to_cube[:, 0] * x + to_cube[:, 1] * y)
        across = to_cube[:, 0] * y - to_cube[:, 1] * x
        columns = (
            state["joint_position"],
            state["joint_target"] - state["joint_position"],
            tip,
            cube,
            target,
            to_cube,
            to_target,
            reach_direction,
            push_direction,
            np.stack((reach, push, along, across), axis=-1),
            state["cube_velocity"],
        )
        return np.concatenate(columns, axis=-1, dtype=np.float32, casting="same_kind")

    def speed(self, measured: Mapping[str, Array]) -> Array:
        """Return the cube's speed [N] in m/s."""
        return so101.norm(measured["cube_velocity"])

    def success(self, state: Mapping[str, Array], still_steps: Array) -> Array:
        """Return bool [N]: near the target and still for long enough."""
        distance = so101.norm(state["cube_position"] - state["target_position"])
        return (distance <= SUCCESS_DISTANCE) & (still_steps >= STILL_STEPS)

    def next_target(self, joint_target: Array, action: Array) -> Array:
        """Return the joint target [N, 6] that ``action`` commands, clipped to the joint ranges."""
        return so101.next_target(joint_target, action)
