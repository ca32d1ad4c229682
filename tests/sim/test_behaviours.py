"""The scripted mixture: an expert that succeeds, and shares that are what was asked for."""

import numpy as np
import pytest

import sim
from embodied.errors import UserError
from sim.behaviours import HOLD, KINDS, RandomBehaviour, ScriptedBehaviour
from sim.tasks.push import PushTask

CLEAN = {"true_goal": 1.0, "wrong_goal": 0.0, "waypoints": 0.0, "random": 0.0, "noise": 0.0}


def succeed(name, num_envs, seed, **shares):
    """Return success at the end of one episode per environment, and the kinds."""
    env = sim.make(name, num_envs, seed=seed)
    observation, info = env.reset()
    behaviour = ScriptedBehaviour(env.task, num_envs, seed + 1, **shares)
    start = np.ones(num_envs, bool)
    while "final_info" not in info:
        observation, _, _, start, info = env.step(behaviour.act(observation, info["state"], start))
    env.close()
    return info["final_info"]["success"], behaviour.kind


@pytest.mark.parametrize("name", ["push", "reach", "lift", "stack"])
def test_the_clean_expert_succeeds(name):
    success, kind = succeed(name, 128, seed=100, **CLEAN)
    assert (kind == KINDS.index("true_goal")).all()
    assert success.mean() >= 0.95


@pytest.mark.parametrize(
    ("name", "num_envs", "seed"), [("push", 512, 200), ("lift", 384, 201), ("stack", 256, 202)]
)
def test_the_default_mixture_succeeds_now_and_then(name, num_envs, seed):
    success, kind = succeed(name, num_envs, seed)
    assert 0.15 <= success.mean() <= 0.35
    rates = [success[kind == index].mean() for index in range(len(KINDS))]
    assert rates[KINDS.index("true_goal")] > 0.6
    assert max(rates[1:]) < 0.2
    shares = np.bincount(kind, minlength=4) / num_envs
    np.testing.assert_allclose(shares, (0.25, 0.45, 0.20, 0.10), atol=0.08)


def test_without_true_goals_it_hardly_ever_succeeds():
    success, kind = succeed("push", 128, seed=300, true_goal=0.0, wrong_goal=0.7)
    assert not (kind == KINDS.index("true_goal")).any()
    assert success.mean() < 0.2


def test_noise_makes_the_expert_worse():
    clean, _ = succeed("push", 128, seed=400, **CLEAN)
    noisy, _ = succeed("push", 128, seed=400, **{**CLEAN, "noise": 0.12})
    assert noisy.mean() < clean.mean() - 0.2


@pytest.mark.parametrize("name", ["lift", "stack"])
def test_wrong_plans_of_a_grasp_fail_although_most_of_them_touch_the_cube(name):
    shares = {"true_goal": 0.0, "wrong_goal": 1.0, "waypoints": 0.0, "random": 0.0}
    env = sim.make(name, 64, seed=500)
    observation, info = env.reset()
    behaviour = ScriptedBehaviour(env.task, 64, 501, **shares, noise=0.0)
    start = np.ones(64, bool)
    highest = info["state"]["cube_position"][:, 2]
    while "final_info" not in info:
        action = behaviour.act(observation, info["state"], start)
        observation, _, _, start, info = env.step(action)
        if not start.any():
            highest = np.maximum(highest, info["state"]["cube_position"][:, 2])
    env.close()
    assert not info["final_info"]["success"].any()
    # Half of the plans grasp the cube, but not for the task's goal; the others miss it.
    assert 0.3 < (highest > 0.0155).mean() < 0.8


def test_a_wandering_gripper_opens_and_closes():
    shares = {"true_goal": 0.0, "wrong_goal": 0.0, "waypoints": 1.0, "random": 0.0}
    env = sim.make("lift", 16, seed=600)
    observation, info = env.reset()
    behaviour = ScriptedBehaviour(env.task, 16, 601, **shares, noise=0.0)
    start, openings = np.ones(16, bool), []
    for _ in range(40):
        action = behaviour.act(observation, info["state"], start)
        observation, _, _, start, info = env.step(action)
        openings.append(info["state"]["gripper_opening"])
    env.close()
    assert np.mean(np.ptp(openings, axis=0)) > 0.015


def test_a_task_without_a_script_is_refused():
    with pytest.raises(UserError, match="behaviour=random"):
        ScriptedBehaviour(type("Other", (), {"name": "other"})(), 2, 0)


def test_kinds_change_only_where_an_episode_starts():
    env = sim.make("push", 32, seed=0)
    observation, info = env.reset()
    behaviour = ScriptedBehaviour(env.task, 32, 0)
    behaviour.act(observation, info["state"], np.ones(32, bool))
    before = behaviour.kind.copy()
    start = np.arange(32) < 16
    behaviour.act(observation, info["state"], start)
    np.testing.assert_array_equal(behaviour.kind[16:], before[16:])
    assert (behaviour.kind[:16] != before[:16]).any()
    env.close()


def test_random_actions_are_held():
    behaviour = RandomBehaviour(PushTask(), 1, seed=0)
    actions = np.array([behaviour.act(None, {}, np.zeros(1, bool))[0] for _ in range(200)])
    changes = np.flatnonzero((np.diff(actions, axis=0) != 0).any(axis=1))
    lengths = np.diff(changes)
    assert lengths.min() >= HOLD[0]
    assert lengths.max() < HOLD[1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"true_goal": 0.5},
        {"true_goal": -0.25, "wrong_goal": 0.95},
        {"noise": -1},
        {"noise": np.nan},
    ],
)
def test_impossible_mixtures_are_refused(wrong):
    with pytest.raises(UserError):
        ScriptedBehaviour(PushTask(), 2, 0, **wrong)
