"""The single-environment view is accepted by the tools it is for."""

import warnings

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

import sim
from sim.single import SingleEnv
from sim.tasks.push import PushTask
from sim.tasks.reach import ReachTask


@pytest.fixture(params=[PushTask, ReachTask], name="env")
def _env(request):
    env = SingleEnv(request.param(), max_steps=6)
    yield env
    env.close()


def test_gymnasiums_checker_accepts_it(env):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it advises bounded observations
        check_env(env)


def test_stable_baselines3_accepts_and_evaluates_it(env):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    from stable_baselines3.common.evaluation import evaluate_policy

    checker.check_env(env, warn=False)

    class Still:
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return np.zeros((len(observation), 6), np.float32), state

    returns, lengths = evaluate_policy(
        Still(), env, n_eval_episodes=3, return_episode_rewards=True, warn=False
    )
    assert lengths == [6, 6, 6]
    assert returns == [0, 0, 0]


def test_it_plays_the_episodes_of_a_batched_row(env):
    batched = sim.make(env.task.name, 2, seed=5, max_steps=6)
    rows, _ = batched.reset()
    observation, _ = env.reset(seed=6)
    rng = np.random.default_rng(0)
    for _ in range(14):
        np.testing.assert_array_equal(observation, rows[1])
        action = rng.uniform(-0.15, 0.15, (2, 6)).astype(np.float32)
        rows, _, _, truncated, infos = batched.step(action)
        observation, reward, _, ended, info = env.step(action[1])
        assert ended == truncated[1]
        if ended:
            np.testing.assert_array_equal(observation, infos["final_obs"][1])
            assert info["success"] == infos["final_info"]["success"][1] == bool(reward)
            observation, info = env.reset()
        np.testing.assert_array_equal(
            info["state"]["tip_position"], infos["state"]["tip_position"][1]
        )
    batched.close()


def test_an_ended_episode_wants_a_reset(env):
    env.reset(seed=0)
    for _ in range(6):
        _, _, _, truncated, _ = env.step(np.zeros(6, np.float32))
    assert truncated
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(6, np.float32))
    env.reset()
    env.step(np.zeros(6, np.float32))


def test_without_a_render_mode_there_is_no_image(env):
    env.reset(seed=0)
    assert env.render() is None
