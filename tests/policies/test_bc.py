"""Behaviour cloning: it recovers a known policy and is IQL's actor with every weight 1."""

import numpy as np
import pytest
import torch

from embodied.engine.data import Normaliser, OfflineData, RewardColumn, Source
from policies.bc import BC, BCConfig, likelihood_loss
from policies.iql import IQL, IQLConfig, actor_loss

IDENTITY = Normaliser(
    *(np.array(item, np.float32) for item in ([0.0] * 3, [1.0] * 3, [-1.0] * 2, [1.0] * 2))
)


def known_policy_data(weight, bias, noise, count=4000):
    """Two-row episodes acted by ``tanh(W s + b)`` plus Gaussian noise."""
    rng = np.random.default_rng(0)
    observation = rng.normal(size=(2 * count, 3)).astype(np.float32)
    action = np.tanh(observation[::2] @ weight + bias) + noise * rng.normal(size=(count, 2))
    source = Source(observation, action.astype(np.float32), np.zeros(count, bool), np.arange(count))
    return OfflineData([source], [IDENTITY], [(0, RewardColumn(np.zeros(count)))] * 2)


def test_it_recovers_a_linear_tanh_policy_and_its_noise():
    weight = np.array([[0.4, -0.3], [0.2, 0.5], [-0.3, 0.1]])
    bias, noise = np.array([0.1, -0.2]), 0.05
    config = BCConfig(hidden=(), batch_size=256, learning_rate=0.02)
    learner = BC(config, 3, 2, seeds=[0, 1], total_steps=1500)
    learner.update(known_policy_data(weight, bias, noise), 1500)
    found = {key: value.numpy() for key, value in learner.actor_weights().items()}
    for seed in (0, 1):
        np.testing.assert_allclose(found["actor.0.weight"][seed], weight, atol=0.02)
        np.testing.assert_allclose(found["actor.0.bias"][seed, 0], bias, atol=0.02)
        np.testing.assert_allclose(np.exp(found["actor.log_std"][seed, 0]), noise, rtol=0.1)


def test_its_loss_is_iqls_with_every_weight_one(random_source):
    source = random_source()
    normaliser = Normaliser.fit(source, [-1.0] * 2, [1.0] * 2)
    reward = RewardColumn(np.zeros(len(source), np.float32))
    data = OfflineData([source], [normaliser], [(0, reward)] * 2)
    batch = data.block(torch.arange(32).view(1, 2, 16)).at(0)
    views = BC(BCConfig(hidden=(8,)), 5, 2, [0, 1], 10).actor.views
    own = likelihood_loss(views, batch)[0]
    iql = actor_loss(views, torch.zeros(2, 16), batch, 3.0, 100.0)[0]
    assert torch.equal(own, iql)
    gradients = [torch.autograd.grad(loss, list(views.values())) for loss in (own, iql)]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_iql_with_temperature_zero_trains_the_same_actor(random_source):
    """Same initial weights, minibatches, optimiser and schedule: only the weighting differs."""
    source = random_source((40, 60))
    normaliser = Normaliser.fit(source, [-1.0] * 2, [1.0] * 2)
    reward = RewardColumn(np.random.default_rng(0).random(100).astype(np.float32))
    data = OfflineData([source], [normaliser], [(0, reward)] * 2)
    shared = {"hidden": (16, 16), "batch_size": 32, "learning_rate": 1e-3}
    bc = BC(BCConfig(**shared), 5, 2, [4, 7], 20)
    iql = IQL(IQLConfig(**shared, temperature=0.0), 5, 2, [4, 7], 20)
    begin = bc.actor_weights()
    bc.update(data, 20)
    iql.update(data, 20)
    for key, value in bc.actor_weights().items():
        assert not torch.equal(value, begin[key]), f"{key} was trained"
        torch.testing.assert_close(value, iql.actor_weights()[key], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("count", [1, 8])
def test_one_update_is_maximum_likelihood(check_update, update_case, count):
    """The Gaussian's density by the library, its mean through tanh; Adam on a cosine."""
    rates, total = [1e-3 * (1 + s) for s in range(count)], 20

    def make(seeds, dtype, device):
        config = BCConfig(hidden=(12, 10), batch_size=24, learning_rate=tuple(rates))
        return BC(config, 5, 2, seeds, total, device, dtype)

    def reference(networks, b, drawn, place, step):
        (actor,) = networks["actor"]
        std = actor.tensors["actor.log_std"].exp()
        loss = -torch.distributions.Normal(torch.tanh(actor(b.s)), std).log_prob(b.a).sum(1).mean()
        actor.step(loss, rates[place] * 0.5 * (1 + np.cos(np.pi * step / total)))
        return {"actor/loss": loss}

    check_update(make, reference, count=count, start=5, **update_case)
