"""What every behaviour gives: bounded, finite actions that follow from its seed.

To check another behaviour add one line to ``MAKERS``.
"""

import numpy as np
import pytest

import sim
from embodied.types import Behaviour, LearningBehaviour, Transitions
from policies.replay_behaviour import SACReplayBehaviour
from sim.behaviours import RandomBehaviour, ScriptedBehaviour


def sac_replay(task, num_envs, seed):
    pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")
    return SACReplayBehaviour(task, num_envs, seed, learning_starts=60)


MAKERS = {
    "random": RandomBehaviour,
    "scripted": ScriptedBehaviour,
    "sac_replay": sac_replay,
}


@pytest.fixture(params=("push", "reach", "lift", "stack"), name="env")
def _env(request):
    env = sim.make(request.param, 6, max_steps=8)
    yield env
    env.close()


@pytest.fixture(params=MAKERS, name="make")
def _make(request):
    return MAKERS[request.param]


def play(env, behaviour, steps=12):
    observation, info = env.reset(seed=0)
    start = np.ones(env.num_envs, bool)
    actions = []
    for _ in range(steps):
        before = observation.copy()
        actions.append(behaviour.act(observation, info["state"], start))
        observation, reward, terminated, truncated, info = env.step(actions[-1])
        if isinstance(behaviour, LearningBehaviour):
            after = observation.copy()
            step = Transitions(before, actions[-1], after, terminated, truncated, reward=reward)
            behaviour.observe(step)
        start = terminated | truncated
    return np.array(actions)


def test_it_is_a_behaviour_with_bounded_actions(env, make):
    behaviour = make(env.task, env.num_envs, 0)
    assert isinstance(behaviour, Behaviour)
    actions = play(env, behaviour)
    assert actions.dtype == np.float32
    assert actions.shape[1:] == env.action_space.shape
    assert (actions >= env.action_space.low).all()
    assert (actions <= env.action_space.high).all()
    assert actions.std() > 0


def test_a_seed_decides_the_actions(env, make):
    first, second, other = (play(env, make(env.task, env.num_envs, seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)
