"""The stack task's starts, observation and success, against known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import so101
from sim.tasks.stack import StackTask

TASK = StackTask()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_starts_are_where_they_should_be(seed):
    start = TASK.start(np.random.default_rng(seed))
    cube, base = start.qpos[6:9], start.qpos[13:16]
    for point in (cube, base):
        x, y = point[:2] - so101.PAN_AXIS
        assert 0.13 <= np.hypot(x, y) <= 0.22
        assert abs(np.arctan2(y, x)) <= 0.8
        assert point[2] == 0.0125
    assert np.linalg.norm(cube - base) >= 0.07
    np.testing.assert_allclose(start.goal, [*base[:2], 0.0375])


def stacked():
    """The cube on the base cube, the open gripper 6 cm above it."""
    return {
        "joint_position": np.zeros((1, 6)),
        "joint_velocity": np.zeros((1, 6)),
        "joint_target": np.zeros((1, 6)),
        "grasp_position": np.array([[0.20, 0.05, 0.0975]]),
        "gripper_opening": np.array([0.045]),
        "cube_position": np.array([[0.20, 0.05, 0.0375]]),
        "cube_velocity": np.zeros((1, 3)),
        "base_cube_position": np.array([[0.20, 0.05, 0.0125]]),
        "base_cube_velocity": np.zeros((1, 3)),
    }


def test_observation_of_a_known_state():
    state = stacked()
    state["cube_position"] = np.array([[0.20, -0.05, 0.0375]])
    state["cube_velocity"] = np.array([[0.1, 0.0, 0.0]])
    state["base_cube_velocity"] = np.array([[0.0, 0.2, 0.0]])
    length = np.hypot(0.10, 0.06)
    expected = [
        *[0.0] * 12,
        *[0.20, 0.05, 0.0975],
        *[0.20, -0.05, 0.0375],
        *[0.0, -0.10, -0.06],
        *[0.0, -0.10 / length, -0.06 / length],
        *[length, 0.10],
        *[0.045, 0.0],
        *[0.20, 0.05, 0.0125],
        *[0.0, 0.10, 0.0],  # from the cube to its place
        *[0.0, 1.0, 0.0],
        *[0.10, 0.10],
        *[0.1, 0.0, 0.0],
        *[0.0, 0.2, 0.0],
    ]
    np.testing.assert_allclose(TASK.observe(state)[0], expected, atol=1e-7)


def test_a_stack_that_is_let_go_is_a_success_after_half_a_second():
    assert TASK.success(stacked(), np.array([5]))[0]
    assert not TASK.success(stacked(), np.array([4]))[0]
    assert TASK.still_speed == 0.01
    assert TASK.max_steps == 80


@pytest.mark.parametrize(
    ("field", "change", "expected"),
    [
        ("cube_position", [0.012, 0.0, 0.0], True),
        ("cube_position", [0.013, 0.0, 0.0], False),  # its centre is beside the base cube
        ("cube_position", [0.0, 0.0, 0.0029], True),
        ("cube_position", [0.0, 0.0, 0.0031], False),  # in the air
        ("cube_position", [0.0, 0.0, -0.0250], False),  # on the table
        ("grasp_position", [0.0, 0.0, -0.0199], True),
        ("grasp_position", [0.0, 0.0, -0.0201], False),  # the fingers still beside the cube
        ("gripper_opening", -0.0099, True),
        ("gripper_opening", -0.0101, False),
    ],
)
def test_success_has_these_borders(field, change, expected):
    state = stacked()
    state[field] = state[field] + change
    assert TASK.success(state, np.array([50]))[0] == expected


def test_a_tower_in_the_air_is_no_success():
    state = stacked()
    for name in ("cube_position", "base_cube_position", "grasp_position"):
        state[name] = state[name] + [0.0, 0.0, 0.05]
    assert not TASK.success(state, np.array([50]))[0]


def test_speed_is_that_of_the_faster_cube():
    measured = {
        "cube_velocity": np.array([[0.03, 0.0, 0.04], [0.0, 0.0, 0.0]]),
        "base_cube_velocity": np.array([[0.0, 0.0, 0.01], [0.0, 0.02, 0.0]]),
    }
    np.testing.assert_allclose(TASK.speed(measured), [0.05, 0.02])
