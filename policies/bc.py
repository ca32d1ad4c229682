"""Behaviour cloning: maximum likelihood of the dataset's actions, for ``S`` seeds at once.

The actor, its initialisation, its optimiser and its schedule are IQL's (``policies.iql``), so a
comparison between the two differs in the weighting of the data alone: BC is IQL's actor loss
(arXiv 2110.06169, eq. 7) with every weight 1. The reward is not read.

Differences from common practice: the log-std is a free parameter per action dimension rather than a
function of the state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from embodied.engine.data import Batch, IndexDraw, OfflineData
from embodied.engine.flat import FlatParameters, cosine_decay
from embodied.engine.networks import Weights
from policies.actor import actor_weights, log_probability

Metrics = dict[str, torch.Tensor]


@dataclass(frozen=True)
class BCConfig:
    """Hyper-parameters."""

    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers
    batch_size: int = 256  # transitions per update and seed
    learning_rate: float = 3e-4  # Adam; decays to 0 by a cosine


def likelihood_loss(actor: Weights, batch: Batch) -> tuple[torch.Tensor, Metrics]:
    """Return ``-log pi(a|s)``, mean over the batch and summed over seeds."""
    loss = -log_probability(actor, batch.observation, batch.action).mean(-1)
    return loss.sum(), {"actor/loss": loss.detach()}


class BC:
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
    ) -> None:
        self.config, self.total_steps, self.steps = config, total_steps, 0
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        weights = actor_weights(observation_size, action_size, config.hidden, generators)
        self.actor = FlatParameters(
            {key: item.to(device) for key, item in weights.items()}, config.learning_rate
        )
        self.draw = IndexDraw(seeds)
        self.device = device

    def update(self, data: OfflineData, steps: int) -> Metrics:
        """Take ``steps`` updates; return the last one's metrics, float [S] each."""
        metrics: Metrics = {}
        for _ in range(steps):
            batch = data.batch(self.draw.draw(self.config.batch_size).to(self.device))
            loss, metrics = likelihood_loss(self.actor.views, batch)
            decay = cosine_decay(self.steps, self.total_steps)
            self.actor.set_learning_rate(self.config.learning_rate * decay)
            self.actor.step(loss)
            self.steps += 1
        return metrics

    def actor_weights(self) -> dict[str, torch.Tensor]:
        """Return a copy of the actors' weights, ``[S, ...]`` each, on the CPU."""
        return {key: value.detach().cpu().clone() for key, value in self.actor.views.items()}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return tensors that restore the learner bit for bit on CPU."""
        return {
            **self.actor.state_dict("actor"),
            "draw": self.draw.state(),
            "steps": torch.tensor(self.steps),
        }

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what ``state_dict`` gave."""
        self.actor.load_state_dict(state, "actor")
        self.draw.load(state["draw"])
        self.steps = int(state["steps"])
