"""CQL and Cal-QL: one whole update against a plain float64 one, and what they are known for."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from embodied.engine.data import Normaliser, OfflineData, RewardColumn, Source, returns_to_go
from policies.actor import squashed_sample
from policies.cql import CQL, CQLConfig, conservative_loss
from policies.critic import critic_values

SHARED = {"hidden": (12, 10), "batch_size": 24, "polyak": 0.1, "samples": 3, "discount": 0.9}
SWEPT = {  # one value per seed, up to eight
    "learning_rate": tuple(1e-3 * (1 + s) for s in range(8)),
    "actor_learning_rate": tuple(2e-3 - 1e-4 * s for s in range(8)),
    "conservatism": tuple(5.0 - 0.6 * s for s in range(8)),
}


def value_of(option, place):
    return option[place] if isinstance(option, tuple) else option


def squashed(actor, s, noise):
    """A tanh-squashed Gaussian sample and its log-density: ``1 - tanh^2`` is ``cosh^-2``."""
    mean, log_std = actor(s).chunk(2, -1)
    gaussian = torch.distributions.Normal(mean, log_std.clamp(-20, 2).exp())
    raw = mean + gaussian.scale * noise
    log_cosh = torch.logaddexp(raw, -raw) - math.log(2)
    return torch.tanh(raw), (gaussian.log_prob(raw) + 2 * log_cosh).sum(-1)


def reference_update(config):
    """SAC with CQL(H)'s term (arXiv 2006.04779, eq. 4) and Cal-QL's bound (2303.05479, eq. 5.1)."""

    def update(networks, b, drawn, place, step):
        rate, slow, alpha = (value_of(getattr(config, key), place) for key in SWEPT)
        (actor,), critics, n = networks["actor"], networks["critic"], config.samples
        (temperature,), targets = networks["temperature"], networks["target.critic"]
        size, count = b.a.shape[1], len(b.s)
        noise = drawn("normal", count, 2 * n + 1, size)
        uniform = 2 * drawn("uniform", count, n, size) - 1

        def q_of(critic, s, a):
            return critic(torch.cat([s, a], -1))[:, 0]

        # Actor and temperature on the old critics.
        action, log_pi = squashed(actor, b.s, noise[:, 0])
        weight = temperature.tensors["log"].detach().exp()
        smaller = torch.minimum(*(q_of(q, b.s, action) for q in critics))
        actor_loss = (weight * log_pi - smaller).mean()
        log = temperature.tensors["log"]
        temperature_loss = -(log * (log_pi.detach() - size)).mean()
        with torch.no_grad():
            here = [squashed(actor, b.s, noise[:, 1 + i]) for i in range(n)]
            there = [squashed(actor, b.s2, noise[:, 1 + n + i]) for i in range(n)]
            smaller = torch.minimum(*(q_of(q, b.s2, there[0][0]) for q in targets))
            y = b.r + config.discount * b.m * smaller
        actor.step(actor_loss, slow)
        temperature.step(temperature_loss, slow)
        found = {"critic/loss": 0.0, "critic/conservative": 0.0, "actor/loss": actor_loss}
        for critic, target in zip(critics, targets, strict=True):
            data_q = q_of(critic, b.s, b.a)
            # log of the sum over actions of exp(Q) / density; all Q at s, those of s' too.
            terms = [q_of(critic, b.s, uniform[:, i]) - math.log(0.5**size) for i in range(n)]
            for a, log_density in (*here, *there):
                q = q_of(critic, b.s, a)
                q = torch.maximum(q, b.returns) if config.calibrated else q
                terms.append(q - log_density)
            bellman = ((data_q - y) ** 2).mean()
            conservative = (torch.stack(terms).exp().sum(0).log() - data_q).mean()
            critic.step(bellman + alpha * conservative, rate)
            target.follow(critic, config.polyak)
            found["critic/loss"] += bellman.detach()
            found["critic/conservative"] += conservative.detach()
        return found

    return update


@pytest.mark.parametrize("calibrated", [True, False], ids=["cal-ql", "cql"])
@pytest.mark.parametrize("count", [1, 8])
def test_one_update_is_the_papers(check_update, update_case, count, calibrated):
    swept = {key: values[:count] for key, values in SWEPT.items()}
    config = CQLConfig(**SHARED, **swept, calibrated=calibrated)

    def make(seeds, dtype, device):
        return CQL(config, 5, 2, seeds, 20, device, dtype)

    check_update(make, reference_update(config), count=count, start=5, **update_case)


def test_the_density_of_a_squashed_sample_integrates_to_one():
    """One action dimension: the samples' density, summed over a fine grid of the box."""
    weights = {
        "actor.0.weight": torch.zeros(1, 1, 2, dtype=torch.float64),
        "actor.0.bias": torch.tensor([[[0.4, math.log(0.7)]]], dtype=torch.float64),
    }
    grid = torch.linspace(-9.0, 9.0, 20_001, dtype=torch.float64)
    noise = grid.view(1, 1, -1, 1)
    action, log_pi = squashed_sample(weights, torch.zeros(1, 1, 1, dtype=torch.float64), noise)
    total = torch.trapezoid(log_pi[0, 0].exp(), action[0, 0, :, 0])
    assert total.item() == pytest.approx(1.0, abs=1e-5)
    assert (action.abs() <= 1.0).all()
    assert torch.isfinite(log_pi).all()


def test_the_conservative_term_of_a_constant_q_is_the_log_of_the_boxs_volume():
    """Importance weights: with one Q everywhere, uniform samples alone give log(n 2^A)."""
    q, absent = torch.full((2, 1, 4), 3.0), torch.empty(2, 1, 4, 0)
    found = conservative_loss(q, absent, absent[0], q[..., None].repeat(1, 1, 1, 5), 3, None)
    assert found.item() == pytest.approx(2 * math.log(5 * 2**3), rel=1e-6)


def test_the_bound_touches_the_policys_values_alone():
    g = torch.Generator().manual_seed(0)
    data, policy, log_pi, uniform = (
        torch.randn(shape, generator=g).requires_grad_()
        for shape in ((2, 1, 4), (2, 1, 4, 6), (1, 4, 6), (2, 1, 4, 3))
    )
    high = torch.full((1, 4), 50.0)
    loss = conservative_loss(data, policy, log_pi, uniform, 2, high).sum()
    of_data, of_policy, of_uniform = torch.autograd.grad(loss, [data, policy, uniform])
    assert not of_policy.any(), "a value below the bound is pushed down no further"
    assert of_data.all()
    assert of_uniform.any()
    plain = conservative_loss(data, policy, log_pi, uniform, 2, None)
    low = conservative_loss(data, policy, log_pi, uniform, 2, -high)
    assert torch.equal(plain, low), "a bound below every value changes nothing"


def bandit(discount):
    """One state, actions near 0.5 with reward 1, episodes of one step."""
    count, rng = 256, np.random.default_rng(0)
    action = rng.normal(0.5, 0.05, (count, 1)).astype(np.float32)
    source = Source(
        np.ones((2 * count, 1), np.float32), action, np.ones(count, bool), np.arange(count)
    )
    unit = (np.zeros(1), np.ones(1), -np.ones(1), np.ones(1))
    normaliser = Normaliser(*(item.astype(np.float32) for item in unit))
    column = RewardColumn(np.ones(count, np.float32))
    returns = returns_to_go(column, source.episode_starts, discount)
    column = dataclasses.replace(column, return_to_go=returns)
    return OfflineData([source], [normaliser], [(0, column)] * 2)


def test_conservatism_pushes_unseen_actions_below_the_datas_and_calibration_bounds_it():
    found = {}
    for calibrated in (False, True):
        config = CQLConfig(
            **{"hidden": (16,), "batch_size": 64, "learning_rate": 3e-3, "samples": 4},
            **{"conservatism": (0.0, 5.0), "calibrated": calibrated},
        )
        learner = CQL(config, 1, 1, [0, 0], 250)
        learner.update(bandit(config.discount), 250)
        action = torch.tensor([-0.8, 0.5]).view(1, 2, 1).expand(2, 2, 1)
        q = critic_values(learner.critic.views, torch.ones(2, 2, 1), action).detach().mean(0)
        found[calibrated] = q[1, 1] - q[1, 0]
        assert q[0, 1].item() == pytest.approx(1.0, abs=0.05), "without the term, the reward"
        assert found[calibrated] > 0.5, "the data's action is worth more than an unseen one"
    assert found[True] != found[False]
