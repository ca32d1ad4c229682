"""How fast the stacked IQL learner trains, beside its matrix products and plain eager torch.

    python -m benchmarks.engine [--rounds 7] [--updates 40] [--out benchmarks/results/engine.json]

Every candidate takes the same number of IQL updates per round at the sizes of the push task, the
candidates taking turns; medians over the rounds are reported, and ratios are medians of per-round
ratios. The floor is the matrix products of one update, forward and backward, as batched products
into preallocated outputs and nothing else. The peer is IQL as single-file libraries (CORL) write
it: ``nn.Sequential`` networks, one ``torch.optim.Adam`` each, a target copy averaged tensor by
tensor, one seed at a time. A peer that trains S seeds takes S times as long, so rates are given as
seed-updates per second: updates times seeds.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.common import CORES, machine, quartiles, ratio, take_turns, write_result
from embodied.engine.data import Batch, Normaliser, OfflineData, Source
from embodied.engine.precision import describe_products, set_matmul_precision
from policies.iql import IQL, IQLConfig

OBSERVATION, ACTION = 37, 6  # of the push task
CONFIG = IQLConfig()  # two hidden layers of 256, batches of 256
TRANSITIONS, EPISODE = 100_000, 50
TOTAL_STEPS = 100_000
SEEDS = (1, 3, 9)


def random_data(learners: int) -> OfflineData:
    """Return data of the size of a dataset; its content does not matter for speed."""
    rng = np.random.default_rng(0)
    episodes = TRANSITIONS // EPISODE
    source = Source(
        rng.standard_normal((TRANSITIONS + episodes, OBSERVATION), np.float32),
        rng.uniform(-1.0, 1.0, (TRANSITIONS, ACTION)).astype(np.float32),
        np.arange(TRANSITIONS) + np.repeat(np.arange(episodes), EPISODE),
        np.zeros(TRANSITIONS, bool),
    )
    normaliser = Normaliser.fit(source, [-1.0] * ACTION, [1.0] * ACTION)
    reward = rng.standard_normal(TRANSITIONS, np.float32)
    return OfflineData([source], [normaliser], [(0, reward)] * learners)


def sequential(layers: list[tuple[torch.Tensor, torch.Tensor]]) -> nn.Sequential:
    """Return an MLP that starts from the given weights ``[in, out]`` and biases."""
    modules: list[nn.Module] = []
    for weight, bias in layers:
        linear = nn.Linear(*weight.shape)
        linear.weight.data.copy_(weight.T)
        linear.bias.data.copy_(bias.flatten())
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


class PlainIQL:
    """The peer: one seed, eager modules; it starts from the weights of ours."""

    def __init__(self, ours: IQL) -> None:
        self.actor, self.value = (
            sequential(self._layers(views, name, 0))
            for views, name in ((ours.actor.views, "actor"), (ours.value.views, "value"))
        )
        self.log_std = nn.Parameter(ours.actor.views["actor.log_std"].detach()[0, 0].clone())
        self.critics = nn.ModuleList(
            sequential(self._layers(ours.critic.views, "critic", member)) for member in (0, 1)
        )
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
        following = data.observation[data.row + 1]
        self.fields = (data.observation[data.row], data.action, data.reward, data.mask, following)

    def sample(self) -> tuple[torch.Tensor, ...]:
        """Return a minibatch of ``CONFIG.batch_size``."""
        index = torch.as_tensor(np.random.randint(0, TRANSITIONS, CONFIG.batch_size))  # noqa: NPY002
        return tuple(field[index] for field in self.fields)


def products(seeds: int) -> Callable[[], None]:
    """Return a call that does the matrix products of one update of ``seeds`` learners."""
    value, actor = ([OBSERVATION, *CONFIG.hidden, out] for out in (1, ACTION))
    critic = [OBSERVATION + ACTION, *CONFIG.hidden, 1]
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


def measured(mode: str, seeds: int, updates: int, once: Callable[[int], object]) -> float:
    """Return seed-updates per second of ``once(updates)``, in one precision."""
    set_matmul_precision(mode)
    begin = time.perf_counter()
    once(updates)
    return seeds * updates / (time.perf_counter() - begin)


def repeated(call: Callable[[], object]) -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in range(count):
            call()

    return run


def check_equivalence(updates: int = 20) -> float:
    """Stop unless ours, stacked and alone, and the peer end in the same weights.

    Returns the largest relative difference of a parameter vector.
    """
    set_matmul_precision("float32")
    stacked = IQL(CONFIG, OBSERVATION, ACTION, [0, 1, 2], TOTAL_STEPS)
    solo = IQL(CONFIG, OBSERVATION, ACTION, [1], TOTAL_STEPS)
    peer, data, draw = PlainIQL(solo), random_data(1), copy.deepcopy(solo.draw.state())
    stacked.update(random_data(3), updates)
    solo.update(data, updates)
    again = IQL(CONFIG, OBSERVATION, ACTION, [1], TOTAL_STEPS)
    again.draw.load(draw)
    for _ in range(updates):
        batch: Batch = data.batch(again.draw.draw(CONFIG.batch_size))
        peer.update(tuple(item[0] for item in batch))
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


def candidates(modes: list[str], updates: int) -> dict[str, Callable[[], float]]:
    """Return what is measured: ``<kind> <mode> <seeds>`` -> a call that returns a rate."""
    found: dict[str, Callable[[], float]] = {}
    for mode in modes:
        data = random_data(1)
        peer, buffer = PlainIQL(IQL(CONFIG, OBSERVATION, ACTION, [0], TOTAL_STEPS)), Buffer(data)

        def step(peer: PlainIQL = peer, buffer: Buffer = buffer) -> None:
            peer.update(buffer.sample())

        found[f"peer {mode}"] = partial(measured, mode, 1, updates, repeated(step))
        for seeds in SEEDS:
            learner = IQL(CONFIG, OBSERVATION, ACTION, range(seeds), TOTAL_STEPS)
            update = partial(learner.update, random_data(seeds))
            found[f"ours {mode} {seeds}"] = partial(measured, mode, seeds, updates, update)
            floor = repeated(products(seeds))
            found[f"floor {mode} {seeds}"] = partial(measured, mode, seeds, updates, floor)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--updates", type=int, default=40, help="per candidate and round")
    parser.add_argument("--threads", type=int, default=CORES)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/engine.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    worst = check_equivalence()
    print(f"equivalent: ours and the peer differ by {worst:.1e} after 20 updates")
    modes = ("float32", "bf16")
    about = machine(("torch", "numpy"))
    rates = take_turns(options.rounds, candidates(modes, options.updates))
    rows = []
    for mode in modes:
        for seeds in SEEDS:
            name = f"ours {mode} {seeds}"
            row = {
                "precision": mode,
                "products": describe_products(mode),
                "seeds": seeds,
                "updates_per_s": quartiles(np.divide(rates[name], seeds)),
                "seed_updates_per_s": quartiles(rates[name]),
                "ratio_to_peer": ratio(rates, name, f"peer {mode}"),
                "ratio_to_float32_peer": ratio(rates, name, "peer float32"),
                "share_of_floor": ratio(rates, name, f"floor {mode} {seeds}"),
            }
            rows.append(row)
            print(
                f"{mode:8} S={seeds}: {row['updates_per_s']['median']:6.0f} updates/s, "
                f"{row['seed_updates_per_s']['median']:6.0f} seed-updates/s, "
                f"{row['ratio_to_peer']:.2f} x peer, {row['share_of_floor']:.2f} of the floor"
            )
    result = {
        "threads": options.threads,
        "sizes": {"observation": OBSERVATION, "action": ACTION, **vars(CONFIG)},
        "rounds": options.rounds,
        "updates_per_round": options.updates,
        "equivalence": worst,
        "rows": rows,
        "seed_updates_per_s_every_round": rates,
    }
    write_result(options.out, "engine", about, result)


if __name__ == "__main__":
    main()
