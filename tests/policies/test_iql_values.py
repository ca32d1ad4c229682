"""What IQL converges to where the answer is known: rewards and ends are where they belong."""

import numpy as np
import pytest
import torch

from embodied.engine.data import Batch, Normaliser, OfflineData, RewardColumn, Source
from embodied.engine.flat import FlatParameters
from embodied.engine.networks import mlp, orthogonal_mlp
from policies.critic import critic_values
from policies.iql import IQL, IQLConfig, state_value, value_loss


def table_data(transitions, states, learners=1):
    """Data of two-row episodes from ``(state, action, reward, terminated, next_state)``."""
    s, a, r, ended, s2 = (np.array(column) for column in zip(*transitions, strict=True))
    rows = np.eye(states, dtype=np.float32)[np.stack([s, s2], 1).ravel()]
    source = Source(rows, a[:, None].astype(np.float32), ended.astype(bool), np.arange(len(s)))
    identity = [np.zeros(states), np.ones(states), [-1.0], [1.0]]
    normaliser = Normaliser(*(np.asarray(item, np.float32) for item in identity))
    return OfflineData([source], [normaliser], [(0, RewardColumn(r.astype(np.float32)))] * learners)


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
    eye = torch.eye(states).expand(len(learner.seeds), -1, -1)
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


def test_v_converges_to_the_expectile_and_at_one_half_to_the_mean():
    """The expectile e of uniform numbers in (0, 1) solves ``k (1 - e)^2 = (1 - k) e^2``."""
    expectiles = torch.tensor([[0.1], [0.5], [0.7], [0.9]])
    count = 500
    target_q = ((torch.arange(count) + 0.5) / count).expand(4, -1)
    one = torch.ones(4, count, 1)
    batch = Batch(one, one, target_q, target_q, one)
    weights = orthogonal_mlp("value", [1, 1], [torch.Generator().manual_seed(0)] * 4)
    value = FlatParameters(weights, torch.full((4, 1), 0.02))
    for step in range(400):
        loss, _ = value_loss(value.views, target_q, batch, expectiles)
        value.step(loss, 1.0 - step / 400)
    found = state_value(value.views, one).detach()[:, 0]
    expected = expectiles.sqrt() / (expectiles.sqrt() + (1.0 - expectiles).sqrt())
    np.testing.assert_allclose(found, expected[:, 0], atol=1e-3)
    assert found[1].item() == pytest.approx(target_q[0].mean().item(), abs=1e-3)
