"""The reach task's starts and success, against known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.tasks.reach import ReachTask

TASK = ReachTask()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_tip_and_target_start_apart_above_the_table(seed):
    start = TASK.start(np.random.default_rng(seed))
    tip = TASK.arm.tip_position(start.qpos[None])[0]
    assert 0.03 <= start.goal[2] <= 0.12
    assert 0.029 <= tip[2] <= 0.121
    assert np.linalg.norm(tip - start.goal) >= 0.059


@pytest.mark.parametrize(
    ("distance", "still_steps", "expected"),
    [(0.0149, 2, True), (0.0151, 2, False), (0.0149, 1, False)],
)
def test_success_is_15_mm_and_a_slow_tip(distance, still_steps, expected):
    tip = np.array([[0.2, 0.0, 0.05]])
    state = {"tip_position": tip, "target_position": tip + np.array([0, 0, distance])}
    assert TASK.success(state, np.array([still_steps]))[0] == expected


def test_speed_is_that_of_the_tip():
    # Panning at 1 rad/s moves the tip at its distance from the pan axis.
    joints = TASK.arm.inverse.start((0.0388353 + 0.18, 0.0, 0.05))[None]
    velocity = np.zeros((1, 6))
    velocity[0, 0] = 1.0
    speed = TASK.speed({"joint_position": joints, "joint_velocity": velocity})
    assert speed[0] == pytest.approx(0.18, abs=1e-3)
