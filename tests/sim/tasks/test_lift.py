"""The lift task's starts, observation and success, against known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import so101
from sim.tasks.lift import LiftTask

TASK = LiftTask()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_starts_are_where_they_should_be(seed):
    start = TASK.start(np.random.default_rng(seed))
    tip = TASK.arm.tip_position(start.qpos[None, :6])[0]
    for point in (start.qpos[6:9], tip):
        x, y = point[:2] - so101.PAN_AXIS
        assert 0.13 - 1e-3 <= np.hypot(x, y) <= 0.22 + 1e-3
        assert abs(np.arctan2(y, x)) <= 0.8 + 1e-2
    assert 0.05 - 1e-3 <= tip[2] <= 0.09 + 1e-3
    assert start.qpos[5] == 0
    assert start.qpos[8] == 0.0125
    np.testing.assert_array_equal(start.goal[:2], start.qpos[6:8])
    # The cube's sides are within 0.3 rad of the way from the pan axis to it.
    w, _, _, z = start.qpos[9:13]
    ahead = np.arctan2(start.qpos[7], start.qpos[6] - so101.PAN_AXIS[0])
    assert abs(2 * np.arctan2(z, w) - ahead) <= 0.3 + 1e-9


def test_the_height_is_5_cm_however_the_cube_is_turned():
    # Its farthest corner is half a space diagonal below the centre.
    assert TASK.start(np.random.default_rng(0)).goal[2] - 0.0125 * np.sqrt(3) >= 0.05


def known_state():
    # The grasp point 10 cm to the right of the cube and 5 cm above it, the gripper open.
    return {
        "joint_position": np.arange(6.0)[None] / 10,
        "joint_velocity": np.zeros((1, 6)),
        "joint_target": np.arange(6.0)[None] / 10 + 0.05,
        "grasp_position": np.array([[0.20, -0.05, 0.0625]]),
        "gripper_opening": np.array([0.04]),
        "cube_position": np.array([[0.20, 0.05, 0.0125]]),
        "cube_velocity": np.array([[0.01, 0.02, 0.0]]),
    }


def test_observation_of_a_known_state():
    length = np.hypot(0.10, 0.05)
    expected = [
        *[0.0, 0.1, 0.2, 0.3, 0.4, 0.5],
        *[0.05] * 6,
        *[0.20, -0.05, 0.0625],
        *[0.20, 0.05, 0.0125],
        *[0.0, 0.10, -0.05],
        *[0.0, 0.10 / length, -0.05 / length],
        *[length, 0.10],
        *[0.04, 0.0],  # open, and the cube is not between the fingers
        *[0.0595],  # still to rise to 7.2 cm
        *[0.01, 0.02, 0.0],
    ]
    np.testing.assert_allclose(TASK.observe(known_state())[0], expected, atol=1e-7)


@pytest.mark.parametrize(
    ("beside", "still_steps", "expected"),
    [(0.0149, 5, True), (0.0151, 5, False), (0.0, 4, False), (0.0, 50, True)],
)
def test_success_is_a_held_cube_for_half_a_second(beside, still_steps, expected):
    state = known_state()
    state["cube_position"] = state["grasp_position"] + [0.0, beside, 0.0]
    assert TASK.success(state, np.array([still_steps]))[0] == expected
    assert TASK.still_speed == 0.03
    assert TASK.control_hz == 10


@pytest.mark.parametrize(("height", "speed"), [(0.0721, 0.05), (0.0719, np.inf)])
def test_a_low_cube_does_not_count_as_still(height, speed):
    measured = {
        "cube_position": np.array([[0.2, 0.0, height]]),
        "cube_velocity": np.array([[0.03, 0.0, 0.04]]),
        "goal": np.array([[0.2, 0.0, 0.072]]),
    }
    np.testing.assert_allclose(TASK.speed(measured), [speed])
