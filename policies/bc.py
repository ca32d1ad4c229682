"""Behaviour cloning: maximum likelihood of the dataset's actions, for ``S`` seeds at once.

The actor, its initialisation, its optimiser and its schedule are IQL's (``policies.iql``), so a
comparison between the two differs in the weighting of the data alone: BC is IQL's actor loss
(arXiv 2110.06169, eq. 7) with every weight 1. The reward is not read.

Differences from common practice: the log-std is a free parameter per action dimension rather than a
function of the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from embodied.engine.data import Batch
from embodied.engine.learner import StackedLearner
from embodied.engine.networks import PerSeed, Weights
from embodied.engine.program import Metrics
from policies.actor import actor_weights, log_probability


@dataclass(frozen=True)
class BCConfig:
    """Hyper-parameters. A list is one per seed."""

    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers
    batch_size: int = 256  # transitions per update and seed
    learning_rate: PerSeed = 3e-4  # Adam; decays to 0 by a cosine


def likelihood_loss(actor: Weights, batch: Batch) -> tuple[torch.Tensor, Metrics]:
    """Return ``-log pi(a|s)``, mean over the batch and summed over seeds."""
    loss = -log_probability(actor, batch.observation, batch.action).mean(-1)
    return loss.sum(), {"actor/loss": loss.detach()}


class BC(StackedLearner):
    """Implements ``embodied.types.Learner``; the arguments are those of ``policies.iql.IQL``."""

    Config = BCConfig

    def __init__(
        self,
        config: BCConfig,
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
        weights = actor_weights(observation_size, action_size, config.hidden, self.generators())
        self.actor = self.network("actor", weights, config.learning_rate)

    def update_once(self, batch: Batch, turn: int) -> Metrics:
        """Raise the likelihood of the minibatch's actions."""
        loss, metrics = likelihood_loss(self.actor.views, batch)
        self.actor.step(loss, self.cosine())
        return metrics
