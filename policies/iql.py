"""Implicit Q-learning (Kostrikov et al. 2021, arXiv 2110.06169), for ``S`` seeds at once.

One update, in the order of the authors' code: V on the old target critics (eq. 5), the actor by
advantage-weighted regression on the new V (eq. 7), the twin critics on the new V (eq. 6), then
Polyak averaging of the target critics.

Differences from the paper: every learner's data and weights are stacked, so one batched product
serves all seeds; losses are summed over seeds, which leaves their gradients independent (Adam is
element-wise). Observations arrive normalised and actions scaled to (-1, 1) (``engine.data``).
Dropout, used by the authors for kitchen and adroit only, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from embodied.engine.data import Batch, IndexDraw, OfflineData
from embodied.engine.flat import FlatParameters, TargetCopy, cosine_decay
from embodied.engine.networks import Weights, mlp, orthogonal_mlp, repeat_members, split_members
from policies.actor import actor_weights, log_probability

Metrics = dict[str, torch.Tensor]


@dataclass(frozen=True)
class IQLConfig:
    """Hyper-parameters; the defaults are the paper's for locomotion."""

    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # transitions per update and seed
    learning_rate: float = 3e-4  # Adam, all networks; the actor's decays to 0 by a cosine
    discount: float = 0.99  # per control step
    polyak: float = 0.005  # rate at which the target critics follow
    expectile: float = 0.7  # of the value loss; higher is greedier
    temperature: float = 3.0  # inverse temperature of the advantage weights (the paper's beta)
    weight_clip: float = 100.0  # largest advantage weight


def expectile_loss(difference: torch.Tensor, expectile: float) -> torch.Tensor:
    """Return the asymmetric square ``|k - 1(x < 0)| x^2`` (eq. 3), element-wise."""
    weight = torch.where(difference < 0, 1.0 - expectile, expectile)
    return weight * difference.square()


def state_value(weights: Weights, observation: torch.Tensor) -> torch.Tensor:
    """Return V(s), ``[S, B]``."""
    return mlp(weights, "value", observation).squeeze(-1)


def critic_values(
    weights: Weights, observation: torch.Tensor, action: torch.Tensor
) -> torch.Tensor:
    """Return the twin Q(s, a), ``[2, S, B]``."""
    pair = torch.cat([observation, action], -1)
    return split_members(mlp(weights, "critic", repeat_members(pair, 2)), 2)


def value_loss(
    value: Weights, target_q: torch.Tensor, batch: Batch, expectile: float
) -> tuple[torch.Tensor, Metrics]:
    """Eq. 5: expectile regression of V(s) on the target critics, summed over seeds."""
    v = state_value(value, batch.observation)
    loss = expectile_loss(target_q - v, expectile).mean(-1)
    return loss.sum(), {"value/loss": loss.detach(), "value/mean": v.detach().mean(-1)}


def actor_loss(
    actor: Weights, advantage: torch.Tensor, batch: Batch, config: IQLConfig
) -> tuple[torch.Tensor, Metrics]:
    """Eq. 7: ``-min(exp(beta * (Q - V)), clip) * log pi(a|s)``; the weight carries no gradient."""
    weight = torch.exp(config.temperature * advantage).clamp_max(config.weight_clip)
    loss = -(weight * log_probability(actor, batch.observation, batch.action)).mean(-1)
    return loss.sum(), {
        "actor/loss": loss.detach(),
        "actor/weight": weight.mean(-1),
        "actor/advantage": advantage.mean(-1),
    }


def critic_loss(
    critic: Weights, next_value: torch.Tensor, batch: Batch, discount: float
) -> tuple[torch.Tensor, Metrics]:
    """Eq. 6: ``(r + g m V(s') - Q_i(s, a))^2``, summed over the twins and over seeds."""
    target = batch.reward + discount * batch.mask * next_value
    q = critic_values(critic, batch.observation, batch.action)
    loss = (q - target).square().mean(-1).sum(0)
    return loss.sum(), {"critic/loss": loss.detach(), "critic/q": q.detach().mean((0, -1))}


class IQL:
    """Implements ``embodied.types.Learner``.

    Args:
        config: Hyper-parameters.
        observation_size: O.
        action_size: A.
        seeds: One per learner; they seed the weights and the minibatches.
        total_steps: Updates of the whole run, for the actor's schedule.
        device: Where the networks live.
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
    ) -> None:
        self.config, self.total_steps, self.steps = config, total_steps, 0
        pair, hidden, lr = observation_size + action_size, config.hidden, config.learning_rate
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        initial = {
            "actor": actor_weights(observation_size, action_size, hidden, generators),
            "critic": orthogonal_mlp("critic", [pair, *hidden, 1], generators, members=2),
            "value": orthogonal_mlp("value", [observation_size, *hidden, 1], generators),
        }
        self.actor, self.critic, self.value = (
            FlatParameters({key: item.to(device) for key, item in weights.items()}, lr)
            for weights in initial.values()
        )
        self.target = TargetCopy(self.critic)
        self.draw = IndexDraw(seeds)
        self.device = device

    def update(self, data: OfflineData, steps: int) -> Metrics:
        """Take ``steps`` updates; return the last one's metrics, float [S] each."""
        metrics: Metrics = {}
        for _ in range(steps):
            uniform = self.draw.draw(self.config.batch_size).to(self.device)
            metrics = self._update_once(data.batch(uniform))
            self.steps += 1
        return metrics

    def _update_once(self, batch: Batch) -> Metrics:
        config = self.config
        with torch.no_grad():
            twins = critic_values(self.target.views, batch.observation, batch.action)
            target_q = twins.amin(0)
        loss, value_metrics = value_loss(self.value.views, target_q, batch, config.expectile)
        self.value.step(loss)
        with torch.no_grad():
            advantage = target_q - state_value(self.value.views, batch.observation)
            next_value = state_value(self.value.views, batch.next_observation)
        loss, actor_metrics = actor_loss(self.actor.views, advantage, batch, config)
        decay = cosine_decay(self.steps, self.total_steps)
        self.actor.set_learning_rate(config.learning_rate * decay)
        self.actor.step(loss)
        loss, critic_metrics = critic_loss(self.critic.views, next_value, batch, config.discount)
        self.critic.step(loss)
        self.target.follow(self.critic, config.polyak)
        return value_metrics | actor_metrics | critic_metrics

    def actor_weights(self) -> dict[str, torch.Tensor]:
        """Return a copy of the actors' weights, ``[S, ...]`` each, on the CPU."""
        return {key: value.detach().cpu().clone() for key, value in self.actor.views.items()}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return tensors that restore the learner bit for bit on CPU."""
        return {
            **self.actor.state_dict("actor"),
            **self.critic.state_dict("critic"),
            **self.value.state_dict("value"),
            "target": self.target.flat.clone(),
            "draw": self.draw.state(),
            "steps": torch.tensor(self.steps),
        }

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what ``state_dict`` gave."""
        self.actor.load_state_dict(state, "actor")
        self.critic.load_state_dict(state, "critic")
        self.value.load_state_dict(state, "value")
        self.target.flat.copy_(state["target"])
        self.draw.load(state["draw"])
        self.steps = int(state["steps"])
