"""One whole update of IQL against a plain float64 one, with and without Robust IQL's changes."""

import math

import pytest
import torch

from policies.iql import IQL, IQLConfig

TOTAL = 20
SHARED = {"hidden": (12, 10), "batch_size": 24, "polyak": 0.1, "weight_clip": 0.1}
ROBUST = {"critics": 5, "quantile": 0.3, "huber": 1.1}
SWEPT = {  # one value per seed, up to eight
    "learning_rate": tuple(1e-3 * (1 + s) for s in range(8)),
    "discount": tuple(0.99 - 0.05 * s for s in range(8)),
    "expectile": tuple(0.9 - 0.1 * s for s in range(8)),
    "temperature": tuple(3.0 - 0.3 * s for s in range(8)),
}


def value_of(option, place):
    return option[place] if isinstance(option, tuple) else option


def low_end(values, config):
    return values.amin(0) if config.quantile == 0 else torch.quantile(values, config.quantile, 0)


def squared_or_huber(error, sigma):
    """Robust IQL (arXiv 2310.12955), eq. 7: ``x^2 / 2b`` within ``b = sigma^-2``."""
    if sigma is None:
        return error**2
    bound = sigma**-2
    inside = error.detach().abs() <= bound
    return torch.where(inside, error**2 / (2 * bound), error.abs() - bound / 2)


def reference_update(config):
    """IQL of one seed, eq. 5, 7 and 6 and Polyak averaging, in the order of the authors' code."""

    def update(networks, b, drawn, place, step):
        rate, discount, expectile, beta = (value_of(getattr(config, key), place) for key in SWEPT)
        (actor,), (value,), critics = networks["actor"], networks["value"], networks["critic"]
        targets, pair = networks["target.critic"], torch.cat([b.s, b.a], 1)
        with torch.no_grad():
            target_q = low_end(torch.stack([q(pair)[:, 0] for q in targets]), config)
        u = target_q - value(b.s)[:, 0]
        value_loss = torch.where(u < 0, (1 - expectile) * u**2, expectile * u**2).mean()
        value.step(value_loss, rate)
        with torch.no_grad():
            advantage = target_q - value(b.s)[:, 0]
            weight = torch.exp(beta * advantage).clamp(max=config.weight_clip)
            y = b.r + discount * b.m * value(b.s2)[:, 0]
        log_std = actor.tensors["actor.log_std"]
        pi = torch.distributions.Normal(torch.tanh(actor(b.s)), log_std.exp())
        actor_loss = -(weight * pi.log_prob(b.a).sum(1)).mean()
        actor.step(actor_loss, rate * 0.5 * (1 + math.cos(math.pi * step / TOTAL)))
        critic_loss = 0.0
        for critic, target in zip(critics, targets, strict=True):
            loss = squared_or_huber(critic(pair)[:, 0] - y, config.huber).mean()
            critic_loss = critic_loss + loss.detach()
            critic.step(loss, rate)
            target.follow(critic, config.polyak)
        return {
            "value/loss": value_loss,
            "actor/loss": actor_loss,
            "actor/weight": weight.mean(),
            "critic/loss": critic_loss,
        }

    return update


@pytest.mark.parametrize("robust", [{}, ROBUST], ids=["plain", "robust"])
@pytest.mark.parametrize("count", [1, 8])
def test_one_update_is_the_papers(check_update, update_case, count, robust):
    swept = {key: values[:count] for key, values in SWEPT.items()}
    config = IQLConfig(**SHARED, **swept, **robust)

    def make(seeds, dtype, device):
        return IQL(config, 5, 2, seeds, TOTAL, device, dtype)

    check_update(make, reference_update(config), count=count, start=5, **update_case)
