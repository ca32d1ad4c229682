"""What CartPole's scripted behaviour does."""

import numpy as np
import pytest

from embodied.errors import UserError
from embodied.rollout import rollout
from embodied.types import Behaviour
from sim.behaviours import RandomBehaviour
from sim.cartpole.behaviours import GOOD, KINDS, RANDOM, WEAK, WRONG, CartPoleScripted
from sim.cartpole.environment import CartPoleEnv
from sim.cartpole.task import CartPoleTask
from sim.tasks.push import PushTask


def make(num_envs=1, **options):
    return CartPoleEnv(CartPoleTask(), num_envs, **options)


def returns(behaviour, env):
    """Return of one episode per environment, and whether it succeeded, in their order."""
    made = sorted(rollout(env, behaviour.act, 1, seed=0), key=lambda item: item[0])
    columns = [episode.columns for _, episode in made]
    total = np.array([item["reward"].sum() for item in columns])
    return total, np.array([item["success"][-1] for item in columns])


def test_random_episodes_fall_and_carry_the_fields():
    env = make(50)
    made = list(rollout(env, RandomBehaviour(env.task, 50, 0).act, 1, seed=0))
    for _, episode in made:
        assert episode.observation.shape == (101, 4)
        assert not episode.terminated
        stacked = np.stack([episode.state[name] for name in env.task.fields], axis=1)
        np.testing.assert_array_equal(stacked.astype(np.float32), episode.observation)
    # A constant reward, learnt from random data, got -2538 in RL-VLM-F's table.
    assert np.mean([episode.columns["reward"].sum() for _, episode in made]) < -2000


def test_kinds_are_good_middling_and_bad():
    def of(kind, **options):
        env = make(200)
        shares = {name: float(index == kind) for index, name in enumerate(KINDS)}
        behaviour = CartPoleScripted(env.task, 200, 0, **shares, **options)
        return returns(behaviour, env)

    total, success = of(GOOD, noise=0.0)  # RL-VLM-F's expert data: about -80
    assert total.mean() > -60
    assert success.all()
    total, success = of(GOOD)
    assert -200 < total.mean() < -60
    assert success.mean() > 0.95
    total, success = of(WEAK)
    assert -1500 < total.mean() < -500
    assert 0.15 < success.mean() < 0.5
    for kind in (WRONG, RANDOM):
        total, success = of(kind)
        assert total.mean() < -2200
        assert success.mean() < 0.02


def test_the_scripted_behaviour_is_bounded_and_follows_from_its_seed():
    def play_out(seed):
        env = make(300, max_steps=8)
        behaviour = CartPoleScripted(env.task, 300, seed)
        assert isinstance(behaviour, Behaviour)
        made = sorted(rollout(env, behaviour.act, 2, seed=0), key=lambda item: item[0])
        return np.stack([episode.action for _, episode in made]), behaviour.kind

    actions, kind = play_out(1)
    assert actions.dtype == np.float32
    assert actions.shape == (600, 8, 1)
    assert np.abs(actions).max() <= 1
    assert actions.std() > 0.1
    np.testing.assert_allclose(np.bincount(kind) / 300, (0.35, 0.35, 0.15, 0.15), atol=0.08)
    np.testing.assert_array_equal(actions, play_out(1)[0])
    assert not np.array_equal(actions, play_out(2)[0])


def test_mistakes_with_the_scripted_behaviour_are_told():
    with pytest.raises(UserError, match="knows cartpole alone"):
        CartPoleScripted(PushTask(), 1, 0)
    with pytest.raises(UserError, match="sum to 1"):
        CartPoleScripted(CartPoleTask(), 1, 0, good=0.5)
    with pytest.raises(UserError, match="noise is -1"):
        CartPoleScripted(CartPoleTask(), 1, 0, noise=-1)
