"""What the scripts for ManiSkill want in known situations, and the mixture that is made of them."""

import numpy as np
import pytest

from embodied.environments import make_task
from embodied.errors import UserError
from sim.maniskill.behaviours import KINDS, RANDOM, ManiSkillScripted
from sim.maniskill.scripts import ARRIVED, CLEAR, PickScript, PushScript

OPEN, SHUT = 0.04, -0.01
CUBE, GOAL = np.array([[0.05, 0.02, 0.02]]), np.array([[-0.05, 0.0, 0.2]])
REGION = np.array([[0.25, 0.02, 0.0]])


def pick(tool, grasped=0.0, plan=None):
    state = {"tool_position": np.array([tool]), "cube_position": CUBE, "goal_position": GOAL}
    state["grasped"] = np.array([grasped])
    wanted = PickScript().wanted(state, np.zeros((1, 6)) if plan is None else plan)
    return wanted.tool[0], wanted.fingers[0]


def test_a_pick_goes_over_the_cube_then_down_and_shuts_the_fingers_there():
    tool, fingers = pick([-0.1, 0.1, 0.15])
    np.testing.assert_allclose(tool, CUBE[0] + [0, 0, CLEAR])
    assert fingers == OPEN
    tool, fingers = pick([0.052, 0.02, 0.08])
    np.testing.assert_allclose(tool, CUBE[0])
    assert fingers == OPEN
    _, fingers = pick([0.052, 0.02, 0.025])
    assert fingers == SHUT


def test_a_held_cube_is_carried_so_that_its_centre_comes_to_the_goal():
    at = CUBE[0] + [0.003, 0, 0.005]
    tool, fingers = pick(at, grasped=1.0)
    np.testing.assert_allclose(tool - at, GOAL[0] - CUBE[0])
    assert fingers == SHUT


def test_a_wrong_pick_looks_beside_the_cube_or_carries_it_elsewhere():
    rng = np.random.default_rng(0)
    wrong = np.arange(400) % 2 == 0
    plan = PickScript().plan({}, wrong, rng)
    assert not plan[~wrong].any()
    beside, elsewhere = np.linalg.norm(plan[wrong].reshape(-1, 2, 3), axis=2).T
    assert ((beside > 0) ^ (elsewhere > 0)).all()
    assert (beside[beside > 0] >= 0.05).all()
    assert (elsewhere[elsewhere > 0] >= 0.08).all()
    tool, _ = pick([-0.1, 0.1, 0.15], plan=np.array([[0.06, 0, 0, 0, 0, 0]]))
    np.testing.assert_allclose(tool[:2], CUBE[0, :2] + [0.06, 0])


def push(tool, cube=CUBE):
    state = {"tool_position": np.array([tool]), "cube_position": CUBE, "goal_position": REGION}
    script = PushScript()
    plan = script.plan(state, np.array([False]), np.random.default_rng(0))
    wanted = script.wanted({**state, "cube_position": cube}, plan)
    return wanted.tool[0], wanted.fingers[0]


def test_a_push_goes_behind_the_cube_from_above_and_then_forwards_to_the_goal():
    tool, fingers = push([0.1, 0.1, 0.2])
    assert tool[0] < CUBE[0, 0] - 0.03  # the goal lies ahead along x
    assert tool[2] > 0.06
    assert fingers == SHUT
    tool, _ = push([-0.01, 0.02, 0.2])
    assert tool[2] < 0.03
    at = np.array([0.0, 0.02, 0.025])
    tool, _ = push(at)
    assert 0 < tool[0] - at[0] <= 0.02
    np.testing.assert_allclose(tool[1], at[1])


def test_a_push_ends_where_the_cube_has_arrived():
    cube = REGION - [[0.5 * ARRIVED, 0, -0.02]]
    at = [cube[0, 0] - 0.03, 0.02, 0.025]
    tool, _ = push(at, cube)
    np.testing.assert_allclose(tool, at)


def test_a_wrong_push_goes_for_a_place_outside_the_goal_region():
    state = {"cube_position": np.repeat(CUBE, 50, 0), "goal_position": np.repeat(REGION, 50, 0)}
    plan = PushScript().plan(state, np.ones(50, bool), np.random.default_rng(0))
    assert (np.linalg.norm(plan[:, :2] - REGION[:, :2], axis=1) > 0.1).all()
    np.testing.assert_allclose(np.linalg.norm(plan[:, 2:], axis=1), 1)


def state_of(task, rows, rng):
    return {name: rng.normal(0, 0.1, (rows, *item.shape)) for name, item in task.fields.items()}


@pytest.mark.parametrize("name", ["maniskill_pick_cube", "maniskill_push_cube"])
def test_actions_stay_in_bounds_and_follow_from_the_seed(name):
    task = make_task(name)

    def play(seed):
        rng = np.random.default_rng(0)
        behaviour = ManiSkillScripted(task, 40, seed)
        found = []
        for step in range(12):
            start = np.full(40, step % 6 == 0)
            found.append(behaviour.act(np.zeros((40, 3)), state_of(task, 40, rng), start))
        return np.array(found), behaviour.kind

    actions, kind = play(1)
    assert actions.dtype == np.float32
    assert (actions >= np.array(task.action.low, np.float32)).all()
    assert (actions <= np.array(task.action.high, np.float32)).all()
    assert set(kind) == set(range(len(KINDS)))
    np.testing.assert_array_equal(actions, play(1)[0])
    assert not np.array_equal(actions, play(2)[0])


def test_the_shares_choose_the_kinds():
    task = make_task("maniskill_push_cube")
    behaviour = ManiSkillScripted(task, 30, 0, true_goal=0, wrong_goal=0, random=1)
    behaviour.act(None, state_of(task, 30, np.random.default_rng(0)), np.ones(30, bool))
    assert (behaviour.kind == RANDOM).all()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("maniskill_lift_peg", {}, "behaviour=random"),
        ("maniskill_push_cube", {"true_goal": 0.9}, "sum to 1"),
        ("maniskill_push_cube", {"noise": -0.1}, "noise is -0.1"),
        ("maniskill_push_cube", {"noise": float("nan")}, "noise is nan"),
    ],
)
def test_what_it_cannot_do_is_refused(name, options, words):
    with pytest.raises(UserError, match=words):
        ManiSkillScripted(make_task(name), 2, 0, **options)
