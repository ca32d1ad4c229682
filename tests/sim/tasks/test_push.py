"""The push task's starts, observation and success, against known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import so101
from sim.tasks.push import PushTask

TASK = PushTask()


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_starts_are_where_they_should_be(seed):
    start = TASK.start(np.random.default_rng(seed))
    cube, goal = start.qpos[6:9], start.goal
    tip = TASK.arm.tip_position(start.qpos[None, :6])[0]
    for point in (cube, goal, tip):
        x, y = point[:2] - so101.PAN_AXIS
        assert 0.13 - 1e-3 <= np.hypot(x, y) <= 0.22 + 1e-3
        assert abs(np.arctan2(y, x)) <= 0.8 + 1e-2
    assert 0.08 <= np.linalg.norm(goal - cube) <= 0.15
    assert np.linalg.norm(tip[:2] - cube[:2]) >= 0.045 - 1e-3
    assert tip[2] == pytest.approx(0.02, abs=1e-3)
    assert cube[2] == goal[2] == 0.015
    assert np.linalg.norm(start.qpos[9:13]) == pytest.approx(1)


def known_state():
    # The cube 10 cm left of the tip, the target 8 cm ahead of the cube.
    return {
        "joint_position": np.arange(6.0)[None] / 10,
        "joint_velocity": np.zeros((1, 6)),
        "joint_target": np.arange(6.0)[None] / 10 + 0.05,
        "tip_position": np.array([[0.20, -0.05, 0.015]]),
        "cube_position": np.array([[0.20, 0.05, 0.015]]),
        "cube_velocity": np.array([[0.01, 0.02, 0.0]]),
        "target_position": np.array([[0.28, 0.05, 0.015]]),
    }


def test_observation_of_a_known_state():
    expected = [
        *[0.0, 0.1, 0.2, 0.3, 0.4, 0.5],
        *[0.05] * 6,
        *[0.20, -0.05, 0.015],
        *[0.20, 0.05, 0.015],
        *[0.28, 0.05, 0.015],
        *[0.0, 0.10, 0.0],
        *[0.08, 0.0, 0.0],
        *[0.0, 1.0, 0.0],
        *[1.0, 0.0, 0.0],
        *[0.10, 0.08, 0.0, -0.10],  # the tip is level with the cube, 10 cm to the right of it
        *[0.01, 0.02, 0.0],
    ]
    np.testing.assert_allclose(TASK.observe(known_state())[0], expected, atol=1e-7)


def test_a_tip_behind_the_cube_has_a_negative_along():
    state = known_state()
    state["tip_position"] = np.array([[0.15, 0.05, 0.015]])
    along, across = TASK.observe(state)[0, 35:37]
    assert along == pytest.approx(-0.05)
    assert across == pytest.approx(0)


@pytest.mark.parametrize(
    ("distance", "still_steps", "expected"),
    [(0.0299, 5, True), (0.0301, 5, False), (0.0299, 4, False), (0.0, 50, True)],
)
def test_success_is_3_cm_and_half_a_second(distance, still_steps, expected):
    state = known_state()
    state["cube_position"] = state["target_position"] - [0.0, distance, 0.0]
    assert TASK.success(state, np.array([still_steps]))[0] == expected
    assert TASK.still_speed == 0.01
    assert TASK.control_hz == 10
