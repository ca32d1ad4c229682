"""The balancing task: its sentence, its documented fields, what counts as success."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from embodied.types import Array, Field
from sim.cartpole import physics

STEADY_ANGLE = math.radians(12)  # the angle at which Gymnasium's CartPole-v1 counts as fallen
STEADY_STEPS = 50  # control steps in a row within it: the last second


class CartPoleTask:
    """Balance a pole on a cart that is pushed to the left and to the right.

    Success: the pole stayed within 12 degrees of upright over the last second of the episode.

    Nothing ends an episode but its time limit: a pole that falls lies against a stop at 30 degrees,
    and stops hold the cart at 1.92 m. Cart, pole and their velocities start within 0.05 of zero.
    The environment's own reward is minus the absolute angle in degrees, after each step. Stops,
    horizon and reward are those of RL-VLM-F's CartPole, whose code calls every pole within 5
    degrees a success; held over a second, success tells balance from passing through.
    """

    name = "cartpole"
    instruction = "balance the pole upright on the cart"
    control_hz = 1 / physics.STEP
    max_steps = 100
    behaviour = "cartpole_scripted"
    own_reward = True  # it is more than the success flag, so datasets keep it
    action = Field(
        shape=(1,),
        unit="1",
        meaning="Force on the cart as a share of 10 N; positive pushes it towards +x.",
        low=(-1.0,),
        high=(1.0,),
    )
    fields: Mapping[str, Field] = {
        "cart_position": Field(
            shape=(),
            unit="m",
            meaning="Position of the cart along its track, 0 in the middle; x grows to the right.",
            frame="world",
            low=(-physics.MAX_POSITION,),
            high=(physics.MAX_POSITION,),
        ),
        "cart_velocity": Field(
            shape=(),
            unit="m/s",
            meaning=(
                "Velocity of the cart; while a stop holds the cart at an end of its track, what "
                "the forces would have made of it."
            ),
            frame="world",
        ),
        "pole_angle": Field(
            shape=(),
            unit="rad",
            meaning="Angle of the pole from upright: 0 upright, positive when it leans towards +x.",
            low=(-physics.MAX_ANGLE,),
            high=(physics.MAX_ANGLE,),
        ),
        "pole_angular_velocity": Field(
            shape=(),
            unit="rad/s",
            meaning=(
                "Angular velocity of the pole, positive while it turns towards +x; while a stop "
                "holds the pole at an end of its range, what the forces would have made of it."
            ),
        ),
    }

    def state(self, values: Array) -> dict[str, Array]:
        """Return the named fields, float64 [N] each, as copies of the states' columns [N, 4]."""
        return {name: values[:, index].copy() for index, name in enumerate(self.fields)}

    def observe(self, values: Array) -> Array:
        """Return the policy's observation, float32 [N, 4]: the fields in their order."""
        return values.astype(np.float32)

    def reward(self, values: Array) -> Array:
        """Return minus the absolute angle in degrees, float64 [N]."""
        return -np.abs(np.degrees(values[:, 2]))

    def steady_steps(self, before: Array, values: Array) -> Array:
        """Return how many control steps in a row, int64 [N], the pole was within 12 degrees."""
        return np.where(np.abs(values[:, 2]) <= STEADY_ANGLE, before + 1, 0)

    def success(self, steady_steps: Array) -> Array:
        """Return bool [N], whether an episode that ended now would be a success."""
        return steady_steps >= STEADY_STEPS
