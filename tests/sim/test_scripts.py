"""The plans that scripts draw: the task's own goal, or another one, and nothing else."""

import numpy as np
import pytest

from sim import scripts, so101
from sim.scripts import Begin
from sim.tasks.lift import LiftTask
from sim.tasks.push import PushTask
from sim.tasks.reach import ReachTask
from sim.tasks.stack import StackTask

ROWS = 400


def draw(task, wrong, **state):
    points = np.random.default_rng(1).uniform(-0.2, 0.2, (ROWS, 3))
    begin = Begin(state, points, np.full(ROWS, wrong), np.random.default_rng(2))
    return points, scripts.script_of(task).plan(begin)


@pytest.mark.parametrize("task", [PushTask(), ReachTask()], ids=lambda task: task.name)
def test_a_plan_for_a_target_is_a_point(task):
    target = np.random.default_rng(0).uniform(-0.2, 0.2, (ROWS, 3))
    points, wrong = draw(task, True, target_position=target)
    np.testing.assert_array_equal(wrong, points)
    _, right = draw(task, False, target_position=target)
    np.testing.assert_array_equal(right, target)


def test_a_lift_goes_for_the_cube_and_higher_than_it_has_to():
    _, plan = draw(LiftTask(), False)
    np.testing.assert_array_equal(plan[:, :2], 0.0)
    assert (plan[:, 2] > 0.072 + 0.01).all()


def test_a_wrong_lift_misses_the_cube_or_stays_too_low():
    _, plan = draw(LiftTask(), True)
    beside = so101.norm(plan[:, :2])
    missed = beside > 0
    assert 0.4 < missed.mean() < 0.6
    assert beside[missed].min() >= 0.03
    assert beside[missed].max() <= 0.08
    assert plan[~missed, 2].max() < 0.072 - 0.01
    assert plan[~missed, 2].min() > 0.0125


def test_a_stack_goes_for_the_cube_and_the_base_cube():
    base = np.full((ROWS, 3), 0.0125)
    points, plan = draw(StackTask(), False, base_cube_position=base)
    np.testing.assert_array_equal(plan, np.tile((0.0, 0.0, 0.0, 0.0, 0.025), (ROWS, 1)))
    points, plan = draw(StackTask(), True, base_cube_position=base)
    missed = so101.norm(plan[:, :2]) > 0
    assert 0.4 < missed.mean() < 0.6
    # The cube is set down on the table, at the point that was drawn.
    np.testing.assert_allclose((base[:, :2] + plan[:, 2:4])[~missed], points[~missed, :2])
    np.testing.assert_array_equal(plan[~missed, 4], 0.0)


def test_a_task_made_from_one_of_ours_has_its_script():
    class PushToTheLeft(PushTask):
        name = "push_left"

    assert isinstance(scripts.script_of(PushToTheLeft()), scripts.PushScript)
