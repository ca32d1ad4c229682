"""Conservative Q-learning (Kumar et al. 2020, arXiv 2006.04779) with Cal-QL's bound.

SAC whose critics are pushed down on actions that the data do not show and up on those that they do
(CQL(H), eq. 4). Cal-QL (Nakamoto et al. 2023, arXiv 2303.05479, eq. 5.1) keeps the values of the
policy's actions from being pushed below the return that the data really reached. One update, in the
order of the authors' code: temperature and actor on the old critics, critics, target critics.

Differences from the papers: every learner's data and weights are stacked, for ``S`` seeds at once,
and losses are summed over seeds. The weight of the conservative term is fixed and not a Lagrange
multiplier. The target takes the minimum of the twins at one sampled action and no entropy, as
Cal-QL's code does. The return that bounds the values is the discounted sum within the episode: an
episode that time cut off ends its sum there, which for rewards above zero is a lower bound. Weights
start orthogonal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from embodied.engine.data import Batch
from embodied.engine.learner import StackedLearner
from embodied.engine.networks import PerSeed, Weights, orthogonal_mlp
from embodied.engine.program import Metrics
from policies.actor import squashed_sample
from policies.critic import critic_values


@dataclass(frozen=True)
class CQLConfig:
    """Hyper-parameters; but for the networks the defaults are Cal-QL's. A list is one per seed."""

    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # transitions per update and seed
    learning_rate: PerSeed = 3e-4  # Adam, critics
    actor_learning_rate: PerSeed = 1e-4  # Adam, actor and temperature
    discount: float = 0.99  # per control step
    polyak: float = 0.005  # rate at which the target critics follow
    conservatism: PerSeed = 5.0  # weight of the conservative term (the papers' alpha)
    samples: int = 10  # actions drawn per state from each of three sources
    calibrated: bool = True  # Cal-QL's bound; false is plain CQL


def actor_loss(
    actor: Weights,
    critic: Weights,
    batch: Batch,
    temperature: torch.Tensor,
    noise: torch.Tensor,
) -> tuple[torch.Tensor, Metrics]:
    """SAC's ``alpha log pi - min_i Q_i``, summed over seeds; ``noise`` is ``[S, B, 1, A]``."""
    action, log_pi = squashed_sample(actor, batch.observation, noise)
    q = critic_values(critic, batch.observation, action.squeeze(2)).amin(0)
    loss = (temperature * log_pi.squeeze(2) - q).mean(-1)
    entropy = -log_pi.detach().mean((-2, -1))
    return loss.sum(), {"actor/loss": loss.detach(), "actor/entropy": entropy}


def bellman_loss(q: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the squared error of every critic against one target, ``[S]``."""
    return (q - target).square().mean(-1).sum(0)


def conservative_loss(
    data_q: torch.Tensor,
    policy_q: torch.Tensor,
    policy_log_pi: torch.Tensor,
    random_q: torch.Tensor,
    action_size: int,
    return_to_go: torch.Tensor | None,
) -> torch.Tensor:
    """Eq. 4: ``logsumexp_a (Q(s, a) - log mu(a)) - Q(s, a_data)``, mean over states, ``[S]``.

    Args:
        data_q: Q of the dataset's actions, ``[E, S, B]``.
        policy_q: Q of actions sampled from the policy at s and at s', ``[E, S, B, 2n]``.
        policy_log_pi: Their log-probability, ``[S, B, 2n]``.
        random_q: Q of actions drawn uniformly from the box, ``[E, S, B, n]``.
        action_size: A; a uniform action has the density ``0.5^A``.
        return_to_go: Cal-QL's lower bound of the policy's values, ``[S, B]``; None is plain CQL.
    """
    if return_to_go is not None:
        policy_q = torch.maximum(policy_q, return_to_go.unsqueeze(-1))
    weighted = torch.cat([random_q - action_size * math.log(0.5), policy_q - policy_log_pi], -1)
    return (weighted.logsumexp(-1) - data_q).mean(-1).sum(0)


class CQL(StackedLearner):
    """Implements ``embodied.types.Learner``; the arguments are those of ``policies.iql.IQL``."""

    Config = CQLConfig
    head = "squashed"

    def __init__(
        self,
        config: CQLConfig,
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
        actor = orthogonal_mlp("actor", [observation_size, *hidden, 2 * action_size], generators)
        critic = orthogonal_mlp("critic", [pair, *hidden, 1], generators, members=2)
        slow = config.actor_learning_rate
        self.actor = self.network("actor", actor, slow)
        self.critic = self.network("critic", critic, config.learning_rate)
        self.temperature = self.network("temperature", {"log": torch.zeros(len(seeds), 1)}, slow)
        self.critic_target = self.target("critic")
        self.conservatism = self.per_seed(config.conservatism).squeeze(1)

    @staticmethod
    def return_discount(config: CQLConfig) -> float | None:
        """Return the discount of the return to go that a minibatch needs, or None for none."""
        return config.discount if config.calibrated else None

    def update_once(self, batch: Batch, turn: int) -> Metrics:
        """Actor and temperature, critics, target critics."""
        noise = self.normal(self.batch_size, 2 * self.config.samples + 1, self.action_size)
        temperature = self.temperature.views["log"].detach().exp()
        loss, actor_metrics = actor_loss(
            self.actor.views, self.critic.views, batch, temperature, noise[:, :, :1]
        )
        critic_loss, critic_metrics = self._critic_loss(batch, noise[:, :, 1:])
        # SAC's temperature falls while the entropy is above its target of -A.
        above = actor_metrics["actor/entropy"] + self.action_size
        self.temperature.step((self.temperature.views["log"].squeeze(1) * above).sum())
        self.actor.step(loss)
        self.critic.step(critic_loss)
        self.critic_target.follow(self.critic, self.config.polyak)
        found = {"actor/temperature": temperature.squeeze(1)}
        return actor_metrics | critic_metrics | found

    def _critic_loss(self, batch: Batch, noise: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
        """Bellman error plus the conservative term, summed over seeds."""
        config, size = self.config, self.action_size
        here, there = noise.chunk(2, 2)
        with torch.no_grad():
            now, log_now = squashed_sample(self.actor.views, batch.observation, here)
            later, log_later = squashed_sample(self.actor.views, batch.next_observation, there)
            next_q = critic_values(
                self.critic_target.views, batch.next_observation, later[:, :, 0]
            ).amin(0)
            target = batch.reward + config.discount * batch.mask * next_q
            drawn = 2.0 * self.uniform(self.batch_size, config.samples, size) - 1.0
        every = torch.cat([batch.action.unsqueeze(2), now, later, drawn], 2)
        q = self._values(batch.observation, every)
        data_q, policy_q, random_q = (
            q[..., 0],
            q[..., 1 : 1 + 2 * config.samples],
            q[..., 1 + 2 * config.samples :],
        )
        bellman = bellman_loss(data_q, target)
        conservative = conservative_loss(
            data_q,
            policy_q,
            torch.cat([log_now, log_later], -1),
            random_q,
            size,
            batch.return_to_go if config.calibrated else None,
        )
        loss = bellman + self.conservatism * conservative
        return loss.sum(), {
            "critic/loss": bellman.detach(),
            "critic/conservative": conservative.detach(),
            "critic/q": data_q.detach().mean((0, -1)),
        }

    def _values(self, observation: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Return Q, ``[E, S, B, n]``, of ``n`` actions ``[S, B, n, A]`` at every observation."""
        count = action.shape[2]
        flat = critic_values(
            self.critic.views,
            observation.repeat_interleave(count, 1),
            action.flatten(1, 2),
        )
        return flat.view(*flat.shape[:-1], -1, count)
