"""IQL against references written straight from the paper's formulas."""

import copy
import math

import numpy as np
import pytest
import torch

from embodied.engine.data import Batch, IndexDraw, Normaliser, OfflineData, Source
from policies.iql import IQL, IQLConfig, actor_loss, critic_loss, expectile_loss, value_loss

S, B, O, A = 2, 7, 4, 3  # noqa: E741
SIZES = {"value": (O, 6, 5, 1), "critic": (O + A, 6, 5, 1), "actor": (O, 6, 5, A)}


@pytest.fixture(name="batch")
def _batch():
    rng = np.random.default_rng(0)
    draw = rng.normal
    return Batch(
        *(torch.tensor(draw(size=shape)) for shape in ((S, B, O), (S, B, A), (S, B))),
        mask=torch.tensor(rng.integers(0, 2, (S, B)).astype(float)),
        next_observation=torch.tensor(draw(size=(S, B, O))),
    )


def random_weights(name, members=1):
    """Weights of every stacked network, biases too, so that nothing is zero by chance."""
    rng = np.random.default_rng(len(name))
    weights = {}
    for layer, (fan_in, fan_out) in enumerate(zip(SIZES[name], SIZES[name][1:], strict=False)):
        shape = (S * members, fan_in, fan_out)
        weights[f"{name}.{layer}.weight"] = torch.tensor(rng.normal(size=shape))
        weights[f"{name}.{layer}.bias"] = torch.tensor(rng.normal(size=(S * members, 1, fan_out)))
    if name == "actor":  # one value below the clamp's floor, one inside, one above its ceiling
        weights["actor.log_std"] = torch.tensor([[[-7.0, 0.3, 3.0]]] * S, dtype=torch.float64)
    return weights


def numpy_network(weights, name, k, x):
    """Network ``k`` of a stack on ``x`` [B, in], one row and one layer at a time."""
    rows = []
    for row in x:
        for layer in range(3):
            matrix, bias = (
                weights[f"{name}.{layer}.{part}"][k].numpy() for part in ("weight", "bias")
            )
            row = (np.maximum(row, 0.0) if layer else row) @ matrix + bias[0]
        rows.append(row)
    return np.array(rows)


def test_expectile_loss_is_the_asymmetric_square():
    x = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0], dtype=torch.float64)
    expected = [0.2 * 4, 0.2 * 0.25, 0.0, 0.8 * 0.25, 0.8 * 4]
    torch.testing.assert_close(expectile_loss(x, 0.8), torch.tensor(expected, dtype=torch.float64))


def test_the_median_expectile_is_half_the_square():
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    torch.testing.assert_close(expectile_loss(x, 0.5), 0.5 * x**2)


def test_value_loss_is_equation_5(batch):
    weights = random_weights("value")
    target_q = torch.tensor(np.random.default_rng(1).normal(size=(S, B)))
    loss, metrics = value_loss(weights, target_q, batch, 0.8)
    expected = []
    for k in range(S):
        v = numpy_network(weights, "value", k, batch.observation[k].numpy())[:, 0]
        u = target_q[k].numpy() - v
        expected.append(np.mean(np.abs(0.8 - (u < 0)) * u**2))
        assert metrics["value/mean"][k] == pytest.approx(v.mean(), rel=1e-12)
    # The side weights are float32 numbers whatever the input is.
    np.testing.assert_allclose(metrics["value/loss"], expected, rtol=1e-7)
    assert loss.item() == pytest.approx(sum(expected), rel=1e-7)


def reference_actor_loss(weights, advantage, batch, config):
    """Per-seed losses [S] and the weights [S, B], from eq. 7 and the Gaussian density."""
    losses, all_weights = [], []
    for k in range(S):
        mean = np.tanh(numpy_network(weights, "actor", k, batch.observation[k].numpy()))
        std = np.exp(np.clip(weights["actor.log_std"][k, 0].numpy(), -5.0, 2.0))
        density = np.exp(-((batch.action[k].numpy() - mean) ** 2) / (2 * std**2))
        density /= std * np.sqrt(2 * np.pi)
        # The narrow dimension's density underflows, so its logarithm is taken by hand.
        narrow = -((batch.action[k].numpy() - mean) ** 2)[:, 0] / (2 * std[0] ** 2)
        narrow -= np.log(std[0] * np.sqrt(2 * np.pi))
        log_probability = narrow + np.log(density[:, 1:]).sum(1)
        weight = np.minimum(np.exp(config.temperature * advantage[k]), config.weight_clip)
        losses.append(-np.mean(weight * log_probability))
        all_weights.append(weight)
    return np.array(losses), np.array(all_weights)


def test_actor_loss_is_equation_7(batch):
    weights, config = random_weights("actor"), IQLConfig(temperature=3.0, weight_clip=20.0)
    advantage = np.random.default_rng(2).normal(size=(S, B))
    loss, metrics = actor_loss(weights, torch.tensor(advantage), batch, config)
    expected, used = reference_actor_loss(weights, advantage, batch, config)
    assert 0 < (used == config.weight_clip).sum() < used.size, "the clip must bite, but not always"
    np.testing.assert_allclose(metrics["actor/loss"], expected, rtol=1e-12)
    np.testing.assert_allclose(metrics["actor/weight"], used.mean(1), rtol=1e-12)
    np.testing.assert_allclose(metrics["actor/advantage"], advantage.mean(1), rtol=1e-12)
    assert loss.item() == pytest.approx(expected.sum(), rel=1e-12)


def test_critic_loss_is_equation_6(batch):
    weights = random_weights("critic", members=2)
    next_value = torch.tensor(np.random.default_rng(3).normal(size=(S, B)))
    loss, metrics = critic_loss(weights, next_value, batch, 0.9)
    expected = []
    for k in range(S):
        pair = np.concatenate([batch.observation[k], batch.action[k]], axis=1)
        y = batch.reward[k] + 0.9 * batch.mask[k] * next_value[k]
        twins = [numpy_network(weights, "critic", 2 * k + e, pair)[:, 0] for e in (0, 1)]
        expected.append(sum(np.mean((q - y.numpy()) ** 2) for q in twins))
        assert metrics["critic/q"][k] == pytest.approx(np.mean(twins), rel=1e-12)
    np.testing.assert_allclose(metrics["critic/loss"], expected, rtol=1e-12)
    assert loss.item() == pytest.approx(sum(expected), rel=1e-12)


def test_a_terminal_transition_has_the_reward_alone_as_its_target(batch):
    weights, far = random_weights("critic", members=2), torch.full((S, B), 1e6).double()
    stopped = batch._replace(mask=torch.zeros_like(batch.mask))
    loss, _ = critic_loss(weights, far, stopped, 0.9)
    torch.testing.assert_close(loss, critic_loss(weights, 0 * far, batch, 0.9)[0])


@pytest.mark.parametrize("name", ["value", "actor", "critic"])
def test_the_gradients_are_those_of_the_formulas(batch, name):
    """Finite differences of the loss, for a few entries of every tensor."""
    weights = random_weights(name, 2 if name == "critic" else 1)
    if name == "actor":
        weights["actor.log_std"].clamp_(-1.0, 1.0)  # outside the clamp the gradient is zero
    extra = torch.tensor(np.random.default_rng(4).normal(size=(S, B)))
    config = IQLConfig(weight_clip=5.0)
    loss = {
        "value": lambda w: value_loss(w, extra, batch, 0.7)[0],
        "actor": lambda w: actor_loss(w, extra, batch, config)[0],
        "critic": lambda w: critic_loss(w, extra, batch, 0.9)[0],
    }[name]
    for value in weights.values():
        value.requires_grad_()
    gradients = dict(zip(weights, torch.autograd.grad(loss(weights), weights.values()), strict=True))
    for key, gradient in gradients.items():
        for index in (0, gradient.numel() // 2, gradient.numel() - 1):
            ends = []
            for step in (1e-6, -1e-6):
                moved = {k: v.detach().clone() for k, v in weights.items()}
                moved[key].view(-1)[index] += step
                ends.append(loss(moved).item())
            slope = (ends[0] - ends[1]) / 2e-6
            assert gradient.flatten()[index].item() == pytest.approx(slope, rel=1e-5, abs=1e-5)


def test_the_losses_are_pure(batch):
    weights = random_weights("actor")
    before = copy.deepcopy((weights, batch))
    advantage = torch.zeros(S, B)
    first = actor_loss(weights, advantage, batch, IQLConfig())[0]
    second = actor_loss(weights, advantage, batch, IQLConfig())[0]
    assert torch.equal(first, second)
    assert all(torch.equal(weights[key], before[0][key]) for key in weights)
    assert all(torch.equal(now, then) for now, then in zip(batch, before[1], strict=True))


# --- one whole update -------------------------------------------------------------------------


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
            weight = torch.minimum(torch.exp(c.temperature * advantage), torch.tensor(c.weight_clip))
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


# --- what it converges to ---------------------------------------------------------------------


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
    from policies.iql import state_value

    eye = torch.eye(states).expand(len(learner.draw.state()), -1, -1)
    return state_value(learner.value.views, eye).detach().numpy()


def test_on_a_chain_v_and_q_reach_the_expectile_fixed_point():
    """Action 0.5 goes on (reward 1 at the end, terminal), -0.5 stays (reward 0)."""
    from policies.iql import critic_values

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
        np.testing.assert_allclose(q.detach().numpy(), np.broadcast_to(expected, (2, 2, 3)), atol=0.03)
    mean = learner.actor_weights()
    from embodied.engine.networks import mlp

    assert (torch.tanh(mlp(mean, "actor", eye)) > 0.0).all(), "the actor prefers to go on"


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
