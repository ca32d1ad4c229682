"""TD3+BC (Fujimoto and Gu 2021, arXiv 2106.06860), for ``S`` seeds at once.

TD3 with a behaviour-cloning term in the actor's loss. One update: the twin critics on a smoothed
target action (TD3, arXiv 1802.09477, alg. 1); every second update also the actor (eq. 4), whose
value term is scaled by the mean size of Q (eq. 5), then Polyak averaging of both target networks.

Differences from the paper: every learner's data and weights are stacked and losses are summed over
seeds. Weights start orthogonal, as IQL's do here, and not from torch's default. Actions are scaled
to (-1, 1), observations normalised by the dataset's statistics (the paper does that too).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from embodied.engine.data import Batch
from embodied.engine.learner import StackedLearner
from embodied.engine.networks import PerSeed, Weights, mlp, orthogonal_mlp
from embodied.engine.program import Metrics
from policies.critic import critic_values


@dataclass(frozen=True)
class TD3BCConfig:
    """Hyper-parameters; the defaults are the paper's. A list is one per seed."""

    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # transitions per update and seed
    learning_rate: PerSeed = 3e-4  # Adam, all networks
    discount: PerSeed = 0.99  # per control step
    polyak: float = 0.005  # rate at which the target networks follow
    alpha: PerSeed = 2.5  # weight of the value term against the cloning term
    target_noise: float = 0.2  # standard deviation of the noise on the target action
    noise_clip: float = 0.5  # largest such noise


def policy(weights: Weights, observation: torch.Tensor) -> torch.Tensor:
    """Return the deterministic action pi(s), ``[S, B, A]`` in (-1, 1)."""
    return torch.tanh(mlp(weights, "actor", observation))


def smoothed_action(
    target_actor: Weights, observation: torch.Tensor, noise: torch.Tensor, config: TD3BCConfig
) -> torch.Tensor:
    """Return the target policy's action with clipped noise, kept within [-1, 1]."""
    limit = config.noise_clip
    shaken = policy(target_actor, observation) + (config.target_noise * noise).clamp(-limit, limit)
    return shaken.clamp(-1.0, 1.0)


def critic_loss(
    critic: Weights, next_q: torch.Tensor, batch: Batch, discount: torch.Tensor | float
) -> tuple[torch.Tensor, Metrics]:
    """Return ``(r + g m min_i Q'_i(s', a~) - Q_i(s, a))^2``, summed over the twins and seeds."""
    target = batch.reward + discount * batch.mask * next_q
    q = critic_values(critic, batch.observation, batch.action)
    loss = (q - target).square().mean(-1).sum(0)
    return loss.sum(), {"critic/loss": loss.detach(), "critic/q": q.detach().mean((0, -1))}


def actor_loss(
    actor: Weights, critic: Weights, batch: Batch, alpha: torch.Tensor | float
) -> tuple[torch.Tensor, Metrics]:
    """Eq. 4 and 5: ``-lambda Q_1(s, pi(s)) + |pi(s) - a|^2``, lambda = alpha / mean |Q_1|."""
    action = policy(actor, batch.observation)
    q = critic_values(critic, batch.observation, action)[0]
    scale = alpha / q.detach().abs().mean(-1, keepdim=True)
    cloning = (action - batch.action).square().mean((-2, -1))
    loss = -(scale * q).mean(-1) + cloning
    return loss.sum(), {"actor/loss": loss.detach(), "actor/cloning": cloning.detach()}


class TD3BC(StackedLearner):
    """Implements ``embodied.types.Learner``; the arguments are those of ``policies.iql.IQL``."""

    Config = TD3BCConfig
    head = "deterministic"
    period = 2  # the actor and the target networks move at every second update

    def __init__(
        self,
        config: TD3BCConfig,
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
        self.config, self.action_size = config, action_size
        generators, hidden, pair = self.generators(), config.hidden, observation_size + action_size
        actor = orthogonal_mlp("actor", [observation_size, *hidden, action_size], generators)
        critic = orthogonal_mlp("critic", [pair, *hidden, 1], generators, members=2)
        self.actor = self.network("actor", actor, config.learning_rate)
        self.critic = self.network("critic", critic, config.learning_rate)
        self.actor_target, self.critic_target = self.target("actor"), self.target("critic")
        self.discount, self.alpha = self.per_seed(config.discount), self.per_seed(config.alpha)

    def update_once(self, batch: Batch, turn: int) -> Metrics:
        """Critics; at every second update actor and target networks too."""
        config = self.config
        with torch.no_grad():
            noise = self.normal(self.batch_size, self.action_size)
            shaken = smoothed_action(self.actor_target.views, batch.next_observation, noise, config)
            next_q = critic_values(self.critic_target.views, batch.next_observation, shaken).amin(0)
        loss, metrics = critic_loss(self.critic.views, next_q, batch, self.discount)
        self.critic.step(loss)
        if turn == 1:
            loss, actor_metrics = actor_loss(self.actor.views, self.critic.views, batch, self.alpha)
            self.actor.step(loss)
            self.critic_target.follow(self.critic, config.polyak)
            self.actor_target.follow(self.actor, config.polyak)
            metrics |= actor_metrics
        return metrics
