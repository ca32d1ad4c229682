"""Whole updates of IQL against a plain float64 reimplementation, and stacking against solo runs."""

import copy
import math

import numpy as np
import pytest
import torch

from embodied.engine.data import IndexDraw, Normaliser, OfflineData
from policies.iql import IQL, IQLConfig


class Reference:
    """IQL of one seed in float64: separate networks, separate Adams, no stacking."""

    def __init__(self, learner: IQL) -> None:
        self.config, self.total_steps, self.steps = learner.config, learner.total_steps, 0
        self.actor, self.value = (
            self.network(learner, learner.__dict__[name].views, name, 0)
            for name in ("actor", "value")
        )
        self.q1, self.q2 = (
            self.network(learner, learner.critic.views, "critic", member) for member in (0, 1)
        )
        self.log_std = self.leaf(learner.actor.views["actor.log_std"][0, 0])
        self.t1, self.t2 = copy.deepcopy(self.q1), copy.deepcopy(self.q2)
        rate = self.config.learning_rate
        self.actor_adam = torch.optim.Adam([*sum(self.actor, ()), self.log_std], lr=rate)
        self.value_adam = torch.optim.Adam(sum(self.value, ()), lr=rate)
        self.q_adam = torch.optim.Adam(sum(self.q1 + self.q2, ()), lr=rate)

    @staticmethod
    def leaf(tensor):
        return tensor.detach().double().clone().requires_grad_()

    def network(self, learner, views, name, k):
        layers = len(learner.config.hidden) + 1
        return [
            (self.leaf(views[f"{name}.{i}.weight"][k]), self.leaf(views[f"{name}.{i}.bias"][k, 0]))
            for i in range(layers)
        ]

    @staticmethod
    def apply(layers, x):
        for weight, bias in layers[:-1]:
            x = torch.clamp(x @ weight + bias, min=0.0)
        return x @ layers[-1][0] + layers[-1][1]

    def q(self, layers, observation, action):
        return self.apply(layers, torch.cat([observation, action], 1))[:, 0]

    @staticmethod
    def descend(adam, loss):
        adam.zero_grad()
        loss.backward()
        adam.step()

    def update(self, batch):
        """V, actor, Q, Polyak: the order of the authors' code."""
        c = self.config
        s, a, r, m, s2 = (item[0].double() for item in batch)
        with torch.no_grad():
            target = torch.minimum(self.q(self.t1, s, a), self.q(self.t2, s, a))
        u = target - self.apply(self.value, s)[:, 0]
        side = torch.abs(c.expectile - (u.detach() < 0).double())
        self.descend(self.value_adam, (side * u**2).mean())
        with torch.no_grad():
            advantage = target - self.apply(self.value, s)[:, 0]
            y = r + c.discount * m * self.apply(self.value, s2)[:, 0]
            weight = torch.minimum(
                torch.exp(c.temperature * advantage), torch.tensor(c.weight_clip)
            )
        pi = torch.distributions.Normal(torch.tanh(self.apply(self.actor, s)), self.log_std.exp())
        cosine = 0.5 * (1 + math.cos(math.pi * self.steps / self.total_steps))
        self.actor_adam.param_groups[0]["lr"] = c.learning_rate * cosine
        self.descend(self.actor_adam, -(weight * pi.log_prob(a).sum(1)).mean())
        loss = sum(((self.q(q, s, a) - y) ** 2).mean() for q in (self.q1, self.q2))
        self.descend(self.q_adam, loss)
        with torch.no_grad():
            for source, follower in ((self.q1, self.t1), (self.q2, self.t2)):
                for new, old in zip(sum(source, ()), sum(follower, ()), strict=True):
                    old.mul_(1 - c.polyak).add_(c.polyak * new)
        self.steps += 1

    def vectors(self):
        """Every network's parameters as one vector."""

        def flat(*layers):
            return torch.cat([item.detach().flatten() for item in layers])

        def stacked(first, second):  # twins lie beside each other, tensor by tensor
            pairs = zip(sum(first, ()), sum(second, ()), strict=True)
            return flat(*(torch.stack(pair) for pair in pairs))

        return {
            "actor": flat(*sum(self.actor, ()), self.log_std),
            "value": flat(*sum(self.value, ())),
            "critic": stacked(self.q1, self.q2),
            "target": stacked(self.t1, self.t2),
        }


def make_learner(seeds, device="cpu", steps=10, **changes):
    config = IQLConfig(hidden=(32, 32), batch_size=64, learning_rate=1e-3, **changes)
    return IQL(config, 5, 2, seeds, steps, device)


def make_data(random_source, learners=1, device="cpu"):
    source = random_source((40, 60, 50), seed=1)
    reward = np.random.default_rng(2).normal(size=len(source.action)).astype(np.float32)
    normaliser = Normaliser.fit(source, [-1.0] * 2, [1.0] * 2)
    return OfflineData([source], [normaliser], [(0, reward)] * learners, device)


@pytest.mark.parametrize("updates", [1, 5])
def test_updates_follow_a_plain_float64_reference(random_source, device, updates):
    learner = make_learner([3], device, polyak=0.1)
    reference, data = Reference(make_learner([3], polyak=0.1)), make_data(random_source)
    begin, draw = reference.vectors(), IndexDraw([3])
    for _ in range(updates):
        reference.update(data.batch(draw.draw(64)))
    learner.update(make_data(random_source, device=device), updates)
    for name, expected in reference.vectors().items():
        found = learner.__dict__[name].flat.detach().cpu().double()
        error = (found - expected).norm()
        assert error <= 1e-4 * expected.norm(), name
        # Relative to how far the parameters moved: a wrong order or schedule shows here.
        assert error <= 2e-3 * (expected - begin[name]).norm(), name


def test_stacked_seeds_are_independent_learners(random_source, device):
    stacked = make_learner([0, 1, 2], device, steps=100)
    metrics = stacked.update(make_data(random_source, 3, device), 20)
    for index, seed in enumerate([0, 1, 2]):
        solo = make_learner([seed], device, steps=100)
        alone = solo.update(make_data(random_source, 1, device), 20)
        for key, value in solo.actor_weights().items():
            torch.testing.assert_close(
                stacked.actor_weights()[key][index], value[0], rtol=1e-4, atol=1e-5
            )
        for key, value in alone.items():
            torch.testing.assert_close(metrics[key][index], value[0], rtol=1e-3, atol=1e-4)


def test_seeds_differ_in_weights_and_in_minibatches(random_source):
    learner = make_learner([0, 1])
    first = learner.actor_weights()["actor.0.weight"]
    assert (first[0] - first[1]).abs().max() > 0.1
    uniform = learner.draw.draw(64)
    assert not torch.equal(uniform[0], uniform[1])
    assert learner.update(make_data(random_source, 2), 3)["value/loss"].unique().numel() == 2
