"""What the benchmarks of IQL share: data, plain eager torch as the peer, and the matrix products.

The peer is IQL as single-file libraries (CORL) write it: ``nn.Sequential`` networks, one
``torch.optim.Adam`` each, a target copy averaged tensor by tensor, one seed at a time. The floor is
the matrix products of one update, forward and backward, as batched products into preallocated
outputs and nothing else. Needs torch, numpy and this repository alone.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.peers.linears import sequential
from embodied.engine import random
from embodied.engine.data import Normaliser, OfflineData, RewardColumn, Source
from embodied.engine.precision import set_matmul_precision
from policies.iql import IQL, IQLConfig

OBSERVATION, ACTION = 17, 6  # of half-cheetah, at which published figures are given
CONFIG = IQLConfig()  # two hidden layers of 256, batches of 256
TRANSITIONS, EPISODE = 100_000, 50
TOTAL_STEPS = 100_000


def random_data(learners: int, observation: int = OBSERVATION, device: str = "cpu") -> OfflineData:
    """Return data of the size of a dataset; its content does not matter for speed."""
    rng = np.random.default_rng(0)
    episodes = TRANSITIONS // EPISODE
    source = Source(
        rng.standard_normal((TRANSITIONS + episodes, observation), np.float32),
        rng.uniform(-1.0, 1.0, (TRANSITIONS, ACTION)).astype(np.float32),
        np.zeros(TRANSITIONS, bool),
        np.arange(episodes) * EPISODE,
    )
    normaliser = Normaliser.fit(source, [-1.0] * ACTION, [1.0] * ACTION)
    reward = RewardColumn(rng.standard_normal(TRANSITIONS, np.float32))
    return OfflineData([source], [normaliser], [(0, reward)] * learners, device)


class PlainIQL:
    """The peer: one seed, eager modules; it starts from the weights of ours."""

    def __init__(self, ours: IQL) -> None:
        self.actor, self.value = (
            sequential(self._layers(views, name, 0)).to(ours.device)
            for views, name in ((ours.actor.views, "actor"), (ours.value.views, "value"))
        )
        self.log_std = nn.Parameter(ours.actor.views["actor.log_std"].detach()[0, 0].clone())
        self.critics = nn.ModuleList(
            sequential(self._layers(ours.critic.views, "critic", member)) for member in (0, 1)
        ).to(ours.device)
        self.target = copy.deepcopy(self.critics)
        rate = CONFIG.learning_rate
        self.actor_adam = torch.optim.Adam([*self.actor.parameters(), self.log_std], lr=rate)
        self.value_adam = torch.optim.Adam(self.value.parameters(), lr=rate)
        self.critic_adam = torch.optim.Adam(self.critics.parameters(), lr=rate)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.actor_adam, TOTAL_STEPS)

    @staticmethod
    def _layers(views: Any, name: str, k: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        count = len(CONFIG.hidden) + 1
        parts = ("weight", "bias")
        return [
            tuple(views[f"{name}.{i}.{part}"].detach()[k] for part in parts) for i in range(count)
        ]

    def update(self, batch: tuple[torch.Tensor, ...]) -> None:
        """Take one update on ``[B, ...]`` tensors: V, actor, critics, target."""
        observation, action, reward, mask, next_observation = batch
        pair = torch.cat([observation, action], 1)
        with torch.no_grad():
            target = torch.min(self.target[0](pair), self.target[1](pair)).squeeze(-1)
        difference = target - self.value(observation).squeeze(-1)
        weight = torch.abs(CONFIG.expectile - (difference < 0).float())
        self._descend(self.value_adam, (weight * difference**2).mean())
        with torch.no_grad():
            advantage = target - self.value(observation).squeeze(-1)
            next_value = self.value(next_observation).squeeze(-1)
        weight = torch.exp(CONFIG.temperature * advantage).clamp(max=CONFIG.weight_clip)
        normal = torch.distributions.Normal(
            torch.tanh(self.actor(observation)), self.log_std.clamp(-5.0, 2.0).exp()
        )
        self._descend(self.actor_adam, -(weight * normal.log_prob(action).sum(-1)).mean())
        self.schedule.step()
        y = reward + CONFIG.discount * mask * next_value
        loss = sum(((critic(pair).squeeze(-1) - y) ** 2).mean() for critic in self.critics)
        self._descend(self.critic_adam, loss)
        for new, old in zip(self.critics.parameters(), self.target.parameters(), strict=True):
            old.data.copy_(CONFIG.polyak * new.data + (1 - CONFIG.polyak) * old.data)

    @staticmethod
    def _descend(adam: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        adam.zero_grad()
        loss.backward()
        adam.step()


class Buffer:
    """The peer's replay buffer: one tensor per field, five gathers per minibatch."""

    def __init__(self, data: OfflineData) -> None:
        every = torch.arange(TRANSITIONS, device=data.indexed_on)[None, None]
        self.fields = tuple(item[0, 0] for item in data.block(every) if item is not None)

    def sample(self) -> tuple[torch.Tensor, ...]:
        """Return a minibatch of ``CONFIG.batch_size``."""
        # Drawn on the host and sent over, as those libraries do.
        index = torch.as_tensor(np.random.randint(0, TRANSITIONS, CONFIG.batch_size))  # noqa: NPY002
        index = index.to(self.fields[0].device)
        return tuple(field[index] for field in self.fields)


def products(seeds: int, observation: int = OBSERVATION) -> Callable[[], None]:
    """Return a call that does the matrix products of one update of ``seeds`` learners."""
    value, actor = ([observation, *CONFIG.hidden, out] for out in (1, ACTION))
    critic = [observation + ACTION, *CONFIG.hidden, 1]
    # (networks, sizes, passes forward, passes backward)
    plan = (
        (seeds, value, 3, 1),  # V(s) with and without gradient, V(s')
        (seeds, actor, 1, 1),
        (2 * seeds, critic, 2, 1),  # the targets and the critics
    )
    work: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    batch = CONFIG.batch_size
    for networks, sizes, forward, backward in plan:
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            x, weight = (
                torch.randn(networks, *shape) for shape in ((batch, fan_in), (fan_in, fan_out))
            )
            y = torch.empty(networks, batch, fan_out)
            work += [(x, weight, y)] * forward
            work += [(x.mT, torch.randn_like(y), torch.empty_like(weight))] * backward
            if layer:
                work += [(torch.randn_like(y), weight.mT, torch.empty_like(x))] * backward

    def run() -> None:
        for left, right, out in work:
            torch.bmm(left, right, out=out)

    return run


def check_equivalence(updates: int = 3) -> float:
    """Stop unless ours, stacked and alone, and the peer end in the same weights.

    Returns the largest relative difference of a parameter vector.
    """
    set_matmul_precision("float32")
    stacked = IQL(CONFIG, OBSERVATION, ACTION, [0, 1, 2], TOTAL_STEPS)
    solo = IQL(CONFIG, OBSERVATION, ACTION, [1], TOTAL_STEPS)
    peer, data = PlainIQL(solo), random_data(1)
    stacked.update(random_data(3), updates)
    solo.update(data, updates)
    bits = random.bits(random.keys([1]), torch.arange(updates), CONFIG.batch_size)
    for batch in (data.block(bits).at(k) for k in range(updates)):
        peer.update(tuple(item[0] for item in batch if item is not None))
    worst = 0.0
    networks = [("actor", 0, peer.actor), ("value", 0, peer.value)]
    networks += [("critic", member, critic) for member, critic in enumerate(peer.critics)]
    for name, member, network in networks:
        members = 2 if name == "critic" else 1
        for layer, linear in enumerate(network[::2]):
            expected = linear.weight.detach().T
            for learner, seed in ((solo, 0), (stacked, 1)):
                weights = getattr(learner, name).views[f"{name}.{layer}.weight"].detach()
                found = weights[members * seed + member]
                worst = max(worst, float((found - expected).norm() / expected.norm()))
    if not worst < 1e-4 or math.isnan(worst):
        raise SystemExit(f"the learners differ by {worst:.1e}; nothing was measured")
    return worst
