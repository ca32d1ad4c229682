"""Implicit Q-learning (Kostrikov et al. 2021, arXiv 2110.06169), for ``S`` seeds at once.

One update, in the order of the authors' code: V on the old target critics (eq. 5), the actor by
advantage-weighted regression on the new V (eq. 7), the critics on the new V (eq. 6), then Polyak
averaging of the target critics.

Robust IQL (Yang et al. 2024, arXiv 2310.12955) is IQL with more critics (``critics``), V regressed
on a low quantile of them instead of their minimum (``quantile``), and a Huber loss for the critics
(``huber``), on normalised observations; all three are off by default.

Differences from the paper: every learner's data and weights are stacked, so one batched product
serves all seeds; losses are summed over seeds, which leaves their gradients independent.
Observations arrive normalised and actions scaled to (-1, 1) (``engine.data``). Dropout, used by the
authors for kitchen and adroit only, is left out. Robust IQL's authors weigh a squared error of a
deterministic actor and clamp their targets to a range per environment; here the actor stays IQL's
and nothing is clamped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from embodied.engine.data import Batch
from embodied.engine.learner import StackedLearner
from embodied.engine.networks import PerSeed, Weights, mlp, orthogonal_mlp
from embodied.engine.program import Metrics
from policies.actor import actor_weights, log_probability
from policies.critic import critic_values


@dataclass(frozen=True)
class IQLConfig:
    """Hyper-parameters; the defaults are the paper's for locomotion. A list is one per seed."""

    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # transitions per update and seed
    learning_rate: PerSeed = 3e-4  # Adam, all networks; the actor's decays to 0 by a cosine
    discount: PerSeed = 0.99  # per control step
    polyak: float = 0.005  # rate at which the target critics follow
    expectile: PerSeed = 0.7  # of the value loss; higher is greedier
    temperature: PerSeed = 3.0  # inverse temperature of the advantage weights (the paper's beta)
    weight_clip: float = 100.0  # largest advantage weight
    critics: int = 2  # Q networks per seed; Robust IQL takes 5
    quantile: float = 0.0  # of the target critics that V follows; 0 is their minimum
    huber: float | None = None  # Robust IQL's sigma: beyond 1 / sigma^2 the loss is linear


def expectile_loss(difference: torch.Tensor, expectile: torch.Tensor | float) -> torch.Tensor:
    """Return the asymmetric square ``|k - 1(x < 0)| x^2`` (eq. 3), element-wise."""
    below = (difference < 0).to(difference.dtype)
    return (expectile - below).abs() * difference.square()


def huber_loss(error: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return Robust IQL's ``x^2 / 2b`` within ``b = 1 / sigma^2`` and ``|x| - b / 2`` beyond."""
    size, bound = error.abs(), 1.0 / sigma**2
    return torch.where(size < bound, error.square() / (2.0 * bound), size - 0.5 * bound)


def low_quantile(values: torch.Tensor, quantile: float) -> torch.Tensor:
    """Return a quantile over the first axis, ``[E, S, B] -> [S, B]``; 0 is the minimum."""
    if quantile == 0.0:
        return values.amin(0)
    ordered, place = values.sort(0).values, quantile * (len(values) - 1)
    below = min(int(place), len(values) - 2)
    return torch.lerp(ordered[below], ordered[below + 1], place - below)


def state_value(weights: Weights, observation: torch.Tensor) -> torch.Tensor:
    """Return V(s), ``[S, B]``."""
    return mlp(weights, "value", observation).squeeze(-1)


def value_loss(
    value: Weights, target_q: torch.Tensor, batch: Batch, expectile: torch.Tensor | float
) -> tuple[torch.Tensor, Metrics]:
    """Eq. 5: expectile regression of V(s) on the target critics, summed over seeds."""
    v = state_value(value, batch.observation)
    loss = expectile_loss(target_q - v, expectile).mean(-1)
    return loss.sum(), {"value/loss": loss.detach(), "value/mean": v.detach().mean(-1)}


def actor_loss(
    actor: Weights,
    advantage: torch.Tensor,
    batch: Batch,
    temperature: torch.Tensor | float,
    weight_clip: float,
) -> tuple[torch.Tensor, Metrics]:
    """Eq. 7: ``-min(exp(beta * (Q - V)), clip) * log pi(a|s)``; the weight carries no gradient."""
    weight = torch.exp(temperature * advantage).clamp_max(weight_clip)
    loss = -(weight * log_probability(actor, batch.observation, batch.action)).mean(-1)
    return loss.sum(), {
        "actor/loss": loss.detach(),
        "actor/weight": weight.mean(-1),
        "actor/advantage": advantage.mean(-1),
    }


def critic_loss(
    critic: Weights,
    next_value: torch.Tensor,
    batch: Batch,
    discount: torch.Tensor | float,
    critics: int = 2,
    huber: float | None = None,
) -> tuple[torch.Tensor, Metrics]:
    """Eq. 6: ``(r + g m V(s') - Q_i(s, a))^2``, summed over the critics and over seeds."""
    target = batch.reward + discount * batch.mask * next_value
    q = critic_values(critic, batch.observation, batch.action, critics)
    error = (q - target).square() if huber is None else huber_loss(q - target, huber)
    loss = error.mean(-1).sum(0)
    return loss.sum(), {"critic/loss": loss.detach(), "critic/q": q.detach().mean((0, -1))}


class IQL(StackedLearner):
    """Implements ``embodied.types.Learner``.

    Args:
        config: Hyper-parameters.
        observation_size: O.
        action_size: A.
        seeds: One per learner; they seed the weights and the minibatches.
        total_steps: Updates of the whole run, for the actor's schedule.
        device: Where the networks live.
        dtype: Of the parameters.
        compiled: Compile the update (``engine.program``).
    """

    Config = IQLConfig

    def __init__(
        self,
        config: IQLConfig,
        observation_size: int,
        action_size: int,
        seeds: Sequence[int],
        total_steps: int,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        compiled: bool = False,
    ) -> None:
        super().__init__(
            seeds,
            batch_size=config.batch_size,
            total_steps=total_steps,
            device=device,
            dtype=dtype,
            compiled=compiled,
        )
        self.config, hidden, rate = config, config.hidden, config.learning_rate
        pair, generators = observation_size + action_size, self.generators()
        actor = actor_weights(observation_size, action_size, hidden, generators)
        critic = orthogonal_mlp("critic", [pair, *hidden, 1], generators, config.critics)
        value = orthogonal_mlp("value", [observation_size, *hidden, 1], generators)
        self.actor = self.network("actor", actor, rate)
        self.critic = self.network("critic", critic, rate)
        self.value = self.network("value", value, rate)
        self.critic_target = self.target("critic")
        self.expectile = self.per_seed(config.expectile)
        self.temperature = self.per_seed(config.temperature)
        self.discount = self.per_seed(config.discount)

    def update_once(self, batch: Batch, turn: int) -> Metrics:
        """V, actor, critics, target critics."""
        config, critics = self.config, self.config.critics
        with torch.no_grad():
            views = self.critic_target.views
            every_q = critic_values(views, batch.observation, batch.action, critics)
            target_q = low_quantile(every_q, config.quantile)
        loss, value_metrics = value_loss(self.value.views, target_q, batch, self.expectile)
        self.value.step(loss)
        with torch.no_grad():
            both = torch.cat([batch.observation, batch.next_observation], 1)
            value, next_value = state_value(self.value.views, both).chunk(2, 1)
            advantage = target_q - value
        loss, actor_metrics = actor_loss(
            self.actor.views, advantage, batch, self.temperature, config.weight_clip
        )
        self.actor.step(loss, self.cosine())
        loss, critic_metrics = critic_loss(
            self.critic.views, next_value, batch, self.discount, critics, config.huber
        )
        self.critic.step(loss)
        self.critic_target.follow(self.critic, config.polyak)
        return value_metrics | actor_metrics | critic_metrics
