"""Move the gripper's tip to a point above the table and hold it there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from embodied.types import Array, Field, Start
from sim import so101

HEIGHT = (0.03, 0.12)  # m above the table, of tip and target at the start
TARGET_DISTANCE = 0.06  # m, smallest one from the tip's start
SUCCESS_DISTANCE = 0.015  # m, tip to target
STILL_STEPS = 2  # control steps in a row that the tip has to be slow: 0.2 s


class ReachTask:
    """Move the tip to the target and hold it there.

    Success: the tip is within 1.5 cm of the target and was slower than 5 cm/s through the last
    0.2 s. Tip and target start 13-22 cm from the pan axis, within 0.8 rad of straight ahead,
    3-12 cm above the table and at least 6 cm apart.
    """

    name = "reach"
    instruction = "move the gripper tip to the target"
    scene = so101.ASSETS / "so101_reach.xml"
    joints: tuple[str, ...] = so101.JOINTS
    objects: tuple[str, ...] = ()
    control_hz = so101.CONTROL_HZ
    max_steps = so101.MAX_STEPS
    behaviour = "scripted"
    still_speed = 0.05  # m/s, of the tip
    action = so101.ACTION
    fields: Mapping[str, Field] = {
        **so101.FIELDS,
        "target_position": Field(
            shape=(3,),
            unit="m",
            meaning=(
                "Where the tip should be; constant through an episode, between 0.03 m and 0.12 m "
                "above the table and at least 0.06 m from the tip's start."
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
            tip, goal = (
                np.array([*so101.draw_on_table(rng), rng.uniform(*HEIGHT)]) for _ in range(2)
            )
            if so101.norm(goal - tip) >= TARGET_DISTANCE:
                break
        return Start(qpos=self.arm.inverse.start(tuple(tip)), goal=goal)

    def state(self, measured: Mapping[str, Array]) -> dict[str, Array]:
        """Return every documented field, ``[N, *shape]`` float64, from what is measured."""
        return {
            "joint_position": measured["joint_position"],
            "joint_velocity": measured["joint_velocity"],
            "joint_target": measured["joint_target"],
            "tip_position": self.arm.tip_position(measured["joint_position"]),
            "target_position": measured["goal"],
        }

    def observe(self, state: Mapping[str, Array]) -> Array:
        """Return the policy's observation, float32 [N, 25].

        Joint positions, joint targets relative to them, the tip's and target's positions, and the
        vector from tip to target with its unit direction and length.
        """
        tip, target = state["tip_position"], state["target_position"]
        to_target = target - tip
        distance = so101.norm(to_target)
        columns = (
            state["joint_position"],
            state["joint_target"] - state["joint_position"],
            tip,
            target,
            to_target,
            so101.direction(to_target, distance),
            distance[:, None],
        )
        return np.concatenate(columns, axis=-1, dtype=np.float32, casting="same_kind")

    def speed(self, measured: Mapping[str, Array]) -> Array:
        """Return the tip's speed [N] in m/s."""
        return self.arm.tip_speed(measured["joint_position"], measured["joint_velocity"])

    def success(self, state: Mapping[str, Array], still_steps: Array) -> Array:
        """Return bool [N]: near the target and slow for long enough."""
        distance = so101.norm(state["tip_position"] - state["target_position"])
        return (distance <= SUCCESS_DISTANCE) & (still_steps >= STILL_STEPS)

    def next_target(self, joint_target: Array, action: Array) -> Array:
        """Return the joint target [N, 6] that ``action`` commands, clipped to the joint ranges."""
        return so101.next_target(joint_target, action)
