"""TD3+BC: one whole update against a plain float64 one, and what it converges to."""

import numpy as np
import pytest
import torch

from embodied.engine.data import Normaliser, OfflineData, RewardColumn, Source
from policies.td3bc import TD3BC, TD3BCConfig, actor_loss, policy, smoothed_action

SHARED = {"hidden": (12, 10), "batch_size": 24, "polyak": 0.1}
SWEPT = {  # one value per seed, up to eight
    "learning_rate": tuple(1e-3 * (1 + s) for s in range(8)),
    "discount": tuple(0.99 - 0.05 * s for s in range(8)),
    "alpha": tuple(2.5 - 0.3 * s for s in range(8)),
}


def value_of(option, place):
    return option[place] if isinstance(option, tuple) else option


def reference_update(config):
    """TD3 (arXiv 1802.09477, alg. 1) with the actor's loss of arXiv 2106.06860, eq. 4 and 5."""

    def update(networks, b, drawn, place, step):
        rate, discount, alpha = (value_of(getattr(config, key), place) for key in SWEPT)
        (actor,), critics = networks["actor"], networks["critic"]
        (target_actor,), targets = networks["target.actor"], networks["target.critic"]

        def q_of(critic, s, a):
            return critic(torch.cat([s, a], 1))[:, 0]

        with torch.no_grad():
            noise = config.target_noise * drawn("normal", len(b.s), b.a.shape[1])
            noise = noise.clamp(-config.noise_clip, config.noise_clip)
            after = (torch.tanh(target_actor(b.s2)) + noise).clamp(-1, 1)
            smaller = torch.minimum(*(q_of(q, b.s2, after) for q in targets))
            y = b.r + discount * b.m * smaller
        losses = [((q_of(q, b.s, b.a) - y) ** 2).mean() for q in critics]
        for critic, loss in zip(critics, losses, strict=True):
            critic.step(loss, rate)
        found = {"critic/loss": sum(losses)}
        if step % 2:  # every second update, counted from 1
            action = torch.tanh(actor(b.s))
            q = q_of(critics[0], b.s, action)
            weight = alpha / q.detach().abs().mean()
            cloning = ((action - b.a) ** 2).mean()
            loss = cloning - weight * q.mean()
            actor.step(loss, rate)
            for source, target in zip([actor, *critics], [target_actor, *targets], strict=True):
                target.follow(source, config.polyak)
            found |= {"actor/loss": loss, "actor/cloning": cloning}
        return found

    return update


@pytest.mark.parametrize("start", [4, 5], ids=["critics alone", "everything"])
@pytest.mark.parametrize("count", [1, 8])
def test_one_update_is_the_papers(check_update, update_case, count, start):
    swept = {key: values[:count] for key, values in SWEPT.items()}
    # Noise that the clip and the box cut now and then.
    config = TD3BCConfig(**SHARED, **swept, target_noise=0.4)

    def make(seeds, dtype, device):
        return TD3BC(config, 5, 2, seeds, 20, device, dtype)

    check_update(make, reference_update(config), count=count, start=start, **update_case)


def linear(weight, bias):
    """One layer of one seed."""
    return {
        "actor.0.weight": torch.tensor([weight], dtype=torch.float64),
        "actor.0.bias": torch.tensor([[bias]], dtype=torch.float64),
    }


def test_the_target_action_is_smoothed_within_its_clip_and_the_box():
    weights = linear([[0.0, 0.0]], [0.0, np.arctanh(0.9)])
    noise = torch.tensor([[[1.0, 1.0], [9.0, -9.0], [-1.0, 9.0]]], dtype=torch.float64)
    config = TD3BCConfig(target_noise=0.2, noise_clip=0.5)
    found = smoothed_action(weights, torch.zeros(1, 3, 1, dtype=torch.float64), noise, config)
    expected = [[0.2, 1.0], [0.5, 0.4], [-0.2, 1.0]]
    np.testing.assert_allclose(found[0], expected, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_the_value_terms_weight_does_not_depend_on_the_scale_of_the_reward(random_source, scale):
    """Q times any factor leaves the actor's gradient as it is."""
    source = random_source()
    data = OfflineData(
        [source],
        [Normaliser.fit(source, [-1.0] * 2, [1.0] * 2)],
        [(0, RewardColumn(np.zeros(len(source), np.float32)))],
    )
    learner = TD3BC(TD3BCConfig(hidden=(8,)), 5, 2, [0], 10, dtype=torch.float64)
    batch = data.block(torch.arange(16).view(1, 1, 16)).at(0).map(torch.Tensor.double)
    actor, critic = learner.actor.views, learner.critic.views
    scaled = {k: v * scale if k.startswith("critic.1.") else v for k, v in critic.items()}
    expected, found = (
        torch.autograd.grad(actor_loss(actor, views, batch, 2.5)[0], list(actor.values()))
        for views in (critic, scaled)
    )
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def bandit(count=512):
    """One state, uniform actions, reward ``2 + a / 2``; every episode ends after its one step."""
    action = np.linspace(-1, 1, count, dtype=np.float32)[:, None]
    source = Source(
        np.ones((2 * count, 1), np.float32), action, np.ones(count, bool), np.arange(count)
    )
    unit = (np.zeros(1), np.ones(1), -np.ones(1), np.ones(1))
    normaliser = Normaliser(*(item.astype(np.float32) for item in unit))
    return OfflineData([source], [normaliser], [(0, RewardColumn(2 + action[:, 0] / 2))] * 2)


def test_it_converges_to_the_minimum_of_its_loss():
    """With Q = 2 + a / 2 the derivative of eq. 4 is ``2 a - alpha / (4 + a)``: zero at one place.

    A small alpha clones the data's mean, which is 0.
    """
    config = TD3BCConfig(hidden=(16,), batch_size=256, learning_rate=4e-3, alpha=(1e-3, 2.5))
    learner = TD3BC(config, 1, 1, [0, 1], 600)
    learner.update(bandit(), 600)
    found = policy(learner.actor.views, torch.ones(2, 1, 1)).detach().numpy()[:, 0, 0]
    expected = [-2 + np.sqrt(4 + alpha / 2) for alpha in config.alpha]
    assert expected[1] == pytest.approx(0.29, abs=0.01)
    np.testing.assert_allclose(found, expected, atol=0.08)
