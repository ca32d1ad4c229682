"""What IQL converges to where the answer is known: rewards and ends are where they belong."""

import numpy as np
import pytest
import torch

from embodied.engine.data import Normaliser, OfflineData, Source
from embodied.engine.networks import mlp
from policies.iql import IQL, IQLConfig, critic_values, state_value


def table_data(transitions, states, learners=1):
    """Data of two-row episodes from ``(state, action, reward, terminated, next_state)``."""
    s, a, r, ended, s2 = (np.array(column) for column in zip(*transitions, strict=True))
    rows = np.eye(states, dtype=np.float32)[np.stack([s, s2], 1).ravel()]
    source = Source(rows, a[:, None].astype(np.float32), 2 * np.arange(len(s)), ended.astype(bool))
    identity = [np.zeros(states), np.ones(states), [-1.0], [1.0]]
    normaliser = Normaliser(*(np.asarray(item, np.float32) for item in identity))
    return OfflineData([source], [normaliser], [(0, r.astype(np.float32))] * learners)


def fitted(data, states, expectile=0.7, discount=0.8, seeds=(0, 1), steps=1200):
    config = IQLConfig(
        hidden=(32,),
        batch_size=64,
        learning_rate=4e-3,
        discount=discount,
        polyak=0.05,
        expectile=expectile,
    )
    learner = IQL(config, states, 1, seeds, steps)
    learner.update(data, steps)
    return learner


def values(learner, states):
    """V of every state for every seed, [S, states]."""
    eye = torch.eye(states).expand(len(learner.draw.state()), -1, -1)
    return state_value(learner.value.views, eye).detach().numpy()


def test_on_a_chain_v_and_q_reach_the_expectile_fixed_point():
    """Action 0.5 goes on (reward 1 at the end, terminal), -0.5 stays (reward 0)."""
    states, expectile, discount = 4, 0.9, 0.8
    transitions = []
    for s in range(3):
        transitions.append((s, 0.5, float(s == 2), s == 2, s + 1))
        transitions.append((s, -0.5, 0.0, False, s))
    learner = fitted(table_data(transitions, states, 2), states, expectile, discount)
    # Independent of the learner: the fixed point by tabular iteration. The expectile v of two
    # equally frequent values solves k (high - v) = (1 - k) (v - low).
    v = np.zeros(4)
    for _ in range(500):
        go = np.array([discount * v[1], discount * v[2], 1.0])
        stay = discount * v[:3]
        v[:3] = expectile * np.maximum(go, stay) + (1 - expectile) * np.minimum(go, stay)
    np.testing.assert_allclose(values(learner, states)[:, :3], [v[:3]] * 2, atol=0.03)
    eye = torch.eye(4)[:3].expand(2, -1, -1)
    for action, expected in ((0.5, go), (-0.5, stay)):
        q = critic_values(learner.critic.views, eye, torch.full((2, 3, 1), action))
        np.testing.assert_allclose(
            q.detach().numpy(), np.broadcast_to(expected, (2, 2, 3)), atol=0.03
        )
    means = torch.tanh(mlp(learner.actor_weights(), "actor", eye))
    assert (means > 0.0).all(), "the actor prefers to go on"


@pytest.mark.parametrize(("terminated", "expected"), [(True, 1.0), (False, 5.0)])
def test_only_termination_stops_bootstrapping(terminated, expected):
    """One state, reward 1, back to itself; every episode is cut after one step.

    Terminal, its value is 1; cut by a time limit it is 1 / (1 - 0.8).
    """
    data = table_data([(0, 0.0, 1.0, terminated, 0)] * 8, 2, 2)
    learner = fitted(data, 2, steps=800)
    np.testing.assert_allclose(values(learner, 2)[:, 0], expected, rtol=0.03)


def test_each_transition_keeps_its_own_reward():
    """Distinct rewards, all terminal: V of each state is its own transition's reward."""
    rewards = [3.0, -1.0, 0.5, 2.0]
    data = table_data([(s, 0.0, r, True, (s + 1) % 4) for s, r in enumerate(rewards)], 4, 2)
    np.testing.assert_allclose(values(fitted(data, 4, steps=800), 4), [rewards] * 2, atol=0.05)
