"""IQL's losses against NumPy references written straight from the paper's formulas."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.engine.data import Batch
from policies.iql import (
    actor_loss,
    critic_loss,
    expectile_loss,
    huber_loss,
    low_quantile,
    value_loss,
)

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


def test_every_seed_has_its_own_expectile():
    x = torch.tensor([[-2.0, 3.0], [-2.0, 3.0]])
    found = expectile_loss(x, torch.tensor([[0.5], [0.9]]))
    torch.testing.assert_close(found, torch.tensor([[2.0, 4.5], [0.4, 8.1]]))


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_the_huber_loss_is_quadratic_and_then_linear_without_a_kink(sigma):
    bound = sigma**-2
    x = torch.tensor([0.5 * bound, bound, 3.0 * bound], dtype=torch.float64)
    expected = [bound / 8.0, bound / 2.0, 2.5 * bound]
    for sign in (1.0, -1.0):
        np.testing.assert_allclose(huber_loss(sign * x, sigma), expected, rtol=1e-12)
        y = (sign * x).requires_grad_()
        huber_loss(y, sigma).sum().backward()
        np.testing.assert_allclose(y.grad, sign * np.array([0.5, 1.0, 1.0]), rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.floats(0.0, 1.0), st.integers(0, 99))
def test_the_low_quantile_is_numpys(critics, quantile, seed):
    values = np.random.default_rng(seed).normal(size=(critics, S, B))
    found = low_quantile(torch.tensor(values), quantile)
    np.testing.assert_allclose(found, np.quantile(values, quantile, axis=0), rtol=1e-9, atol=1e-9)


def test_quantile_zero_is_the_minimum():
    values = torch.tensor([[[3.0]], [[-1.0]], [[2.0]]])
    assert low_quantile(values, 0.0).item() == -1.0


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
    np.testing.assert_allclose(metrics["value/loss"], expected, rtol=1e-12)
    assert loss.item() == pytest.approx(sum(expected), rel=1e-12)


def reference_actor_loss(weights, advantage, batch, temperature, weight_clip):
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
        weight = np.minimum(np.exp(temperature * advantage[k]), weight_clip)
        losses.append(-np.mean(weight * log_probability))
        all_weights.append(weight)
    return np.array(losses), np.array(all_weights)


def test_actor_loss_is_equation_7(batch):
    weights, clip = random_weights("actor"), 20.0
    advantage = np.random.default_rng(2).normal(size=(S, B))
    loss, metrics = actor_loss(weights, torch.tensor(advantage), batch, 3.0, clip)
    expected, used = reference_actor_loss(weights, advantage, batch, 3.0, clip)
    assert 0 < (used == clip).sum() < used.size, "the clip must bite, but not always"
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
    loss = {
        "value": lambda w: value_loss(w, extra, batch, 0.7)[0],
        "actor": lambda w: actor_loss(w, extra, batch, 3.0, 5.0)[0],
        "critic": lambda w: critic_loss(w, extra, batch, 0.9)[0],
    }[name]
    for value in weights.values():
        value.requires_grad_()
    gradients = dict(
        zip(weights, torch.autograd.grad(loss(weights), weights.values()), strict=True)
    )
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
    first = actor_loss(weights, advantage, batch, 3.0, 100.0)[0]
    second = actor_loss(weights, advantage, batch, 3.0, 100.0)[0]
    assert torch.equal(first, second)
    assert all(torch.equal(weights[key], before[0][key]) for key in weights)
    kept = zip(batch[:-1], before[1][:-1], strict=True)  # the last is None here
    assert all(torch.equal(now, then) for now, then in kept)
