"""Two rewards that are plain NumPy code and programs of the dialect at once, word for word."""

from __future__ import annotations

import numpy as np

from embodied.types import Field

PLACE_FIELDS = {
    "tip_position": Field((3,), "m", "Position of the gripper tip.", "world"),
    "tip_velocity": Field((3,), "m/s", "Velocity of the gripper tip.", "world"),
    "cube_position": Field((3,), "m", "Position of the cube's centre.", "world"),
    "cube_velocity": Field((3,), "m/s", "Velocity of the cube's centre.", "world"),
    "target_position": Field((3,), "m", "Where the cube should rest.", "world"),
    "gripper_opening": Field((), "m", "Distance between the fingers."),
    "joint_velocity": Field((6,), "rad/s", "Joint velocities."),
}
ACTION = Field((6,), "rad", "Change of the joint targets.")


def push(state, action, next_state):
    """Push the cube onto the target and leave it at rest there."""
    cube = next_state.cube_position[:, :2]
    target = next_state.target_position[:, :2]
    to_target = target - cube
    distance = np.linalg.norm(to_target, axis=-1)
    before = np.linalg.norm(state.target_position[:, :2] - state.cube_position[:, :2], axis=-1)
    arrived = distance < 0.02

    # Behind the cube: one and a half edges from its centre, away from the target.
    direction = to_target / np.maximum(distance, 1e-6)[:, None]
    behind = np.stack(
        [
            cube[:, 0] - 0.03 * direction[:, 0],
            cube[:, 1] - 0.03 * direction[:, 1],
            next_state.cube_position[:, 2],
        ],
        axis=-1,
    )
    gap = np.linalg.norm(next_state.tip_position - behind, axis=-1)
    approach = np.where(arrived, 1.0, 1 - np.tanh(6 * gap))

    closeness = 1 - np.tanh(8 * distance)
    progress = np.clip((before - distance) / 0.02, -1, 1)

    # Rest counts only on the target, and grows over the last centimetres.
    speed = np.linalg.norm(next_state.cube_velocity, axis=-1)
    nearby = np.clip(1 - distance / 0.03, 0, 1)
    rest = nearby * (1 - np.tanh(speed / 0.01))
    settled = np.where(arrived & (speed < 0.01), 1.0, 0.0)

    effort = np.sum(np.square(action / 0.15), axis=-1)
    total = (
        0.5 * approach
        + 2.0 * closeness
        + 0.5 * progress
        + 1.0 * rest
        + 2.0 * settled
        - 0.02 * effort
    )
    return total, {
        "approach": 0.5 * approach,
        "closeness": 2.0 * closeness,
        "progress": 0.5 * progress,
        "rest": 1.0 * rest,
        "settled": 2.0 * settled,
        "effort": -0.02 * effort,
    }


def place(state, action, next_state):
    """Pick the cube up, carry it over the target, put it down and let go, in four stages."""
    to_cube = next_state.cube_position - next_state.tip_position
    reach = np.linalg.norm(to_cube, axis=-1)
    reach_before = np.linalg.norm(state.cube_position - state.tip_position, axis=-1)
    level = np.linalg.norm(to_cube[:, :2], axis=-1)
    above = np.clip(1.0 - level / 0.05, 0.0, 1.0)
    height = next_state.cube_position[:, 2] - 0.015
    lifted = np.clip(height / 0.08, 0.0, 1.0)
    offset = next_state.target_position - next_state.cube_position
    distance = np.linalg.norm(offset, axis=-1)
    before = np.linalg.norm(state.target_position - state.cube_position, axis=-1)
    across = np.linalg.norm(offset[:, :2], axis=-1)

    closed = next_state.gripper_opening < 0.035
    holding = (reach < 0.02) & closed
    aloft = height > 0.01
    over = across < 0.02
    placed = (distance < 0.015) & (height < 0.005)

    approach = 1.0 - np.tanh(5.0 * reach) + 0.5 * np.clip((reach_before - reach) / 0.02, -1.0, 1.0)
    opening = np.where(reach > 0.03, np.clip(next_state.gripper_opening / 0.06, 0.0, 1.0), 0.0)
    grasp = np.where(holding, 1.0, 0.3 * above * (1.0 - np.tanh(20.0 * reach)))
    carry = np.where(holding & aloft, lifted + 1.0 - np.tanh(4.0 * across), 0.0)
    progress = np.where(holding, np.clip((before - distance) / 0.02, -1.0, 1.0), 0.0)
    lower = np.where(over & holding, np.exp(-np.square(height / 0.03)), 0.0)

    speed = np.linalg.norm(next_state.cube_velocity, axis=-1)
    tip_speed = np.linalg.norm(next_state.tip_velocity, axis=-1)
    still = 1.0 - np.tanh(speed / 0.02)
    release = np.where(placed & ~closed, 1.0 + 0.5 * still, 0.0)

    effort = np.sum(np.square(action), axis=-1)
    jerk = np.sum(np.abs(next_state.joint_velocity - state.joint_velocity), axis=-1)
    hasty = np.maximum(tip_speed - 0.5, 0.0) ** 2
    low = np.where(next_state.tip_position[:, 2] < 0.005, 1.0, 0.0)
    cost = 0.05 * effort + 0.002 * jerk + 0.5 * hasty + 0.3 * low

    stage = approach + 0.2 * opening + 2.0 * grasp + 3.0 * carry
    end = 1.5 * progress + 2.0 * lower + 4.0 * release
    total = stage + end - cost
    return total, {
        "approach": approach,
        "opening": 0.2 * opening,
        "grasp": 2.0 * grasp,
        "carry": 3.0 * carry,
        "progress": 1.5 * progress,
        "lower": 2.0 * lower,
        "release": 4.0 * release,
        "cost": -cost,
    }
