"""Worker in the stack's own environment: our learner, its matrix products, and plain eager torch.

python -m benchmarks.peers.ours TASK (ours | floor | plain) (float32 | bf16) SEEDS
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial

import torch

from benchmarks.peers.linears import read_layers
from benchmarks.peers.protocol import Array, Task, Trainer, serve
from benchmarks.plain import CONFIG, TOTAL_STEPS, Buffer, PlainIQL, products, random_data
from embodied.engine.precision import set_matmul_precision
from policies.iql import IQL


def sizes(task: Task) -> tuple[int, int]:
    """Return the numbers of observations and actions."""
    return task.arrays["data.observation"].shape[1], task.arrays["data.action"].shape[1]


class Ours:
    """The stacked learner, on data of its own: what it draws is checked elsewhere."""

    def __init__(self, task: Task, seeds: int, compiled: bool) -> None:
        observation, action = sizes(task)
        self.data, every = random_data(seeds, observation), range(seeds)
        self.learner = IQL(CONFIG, observation, action, every, TOTAL_STEPS, compiled=compiled)

    def train(self, updates: int) -> int:
        """See ``protocol.Trainer``."""
        self.learner.update(self.data, updates)
        return updates

    def after_one_update(self) -> Mapping[str, Array]:
        """Return the weights after one update on the minibatch that the seeds draw."""
        self.train(1)
        learner = self.learner
        return {
            name: view.detach().numpy()
            for network in (learner.actor, learner.value, learner.critic)
            for name, view in network.views.items()
        }


class Floor:
    """The matrix products of one update; they learn nothing."""

    def __init__(self, task: Task, seeds: int) -> None:
        self.products = products(seeds, sizes(task)[0])

    def train(self, updates: int) -> int:
        """See ``protocol.Trainer``."""
        for _ in range(updates):
            self.products()
        return updates

    def after_one_update(self) -> Mapping[str, Array]:
        """There are no weights."""
        return {}


class Plain:
    """Plain eager torch, as ``benchmarks/plain.py`` has it; it starts from the task's weights."""

    def __init__(self, task: Task) -> None:
        observation, action = sizes(task)
        # The task's weights are those that seed 0 starts from.
        self.learner = PlainIQL(IQL(CONFIG, observation, action, [0], TOTAL_STEPS))
        self.buffer = Buffer(random_data(1, observation))
        self.batch = tuple(torch.tensor(item) for item in task.fields("batch"))

    def train(self, updates: int) -> int:
        """See ``protocol.Trainer``."""
        for _ in range(updates):
            self.learner.update(self.buffer.sample())
        return updates

    def in_float64(self) -> Plain:
        """Compute in float64 from now on, as the reference of the other candidates."""
        learner = self.learner
        for module in (learner.actor, learner.value, learner.critics, learner.target):
            module.double()
        learner.log_std.data = learner.log_std.data.double()
        self.batch = tuple(item.double() for item in self.batch)
        return self

    def after_one_update(self) -> Mapping[str, Array]:
        """See ``protocol.Trainer``."""
        self.learner.update(self.batch)
        return {
            **read_layers("actor", [self.learner.actor]),
            **read_layers("value", [self.learner.value]),
            **read_layers("critic", self.learner.critics),
            **read_layers("target", self.learner.target),
            "actor.log_std": self.learner.log_std.detach().numpy().reshape(1, 1, -1),
        }


def make(kind: str, seeds: int, task: Task) -> Trainer:
    """Return the candidate that was asked for."""
    torch.set_num_threads(task.settings["threads"])
    if kind == "plain":
        return Plain(task)
    if kind == "floor":
        return Floor(task, seeds)
    return Ours(task, seeds, compiled=kind == "compiled")


def main() -> None:
    kind, mode, seeds = sys.argv[2:]
    set_matmul_precision(mode)
    serve(partial(make, kind, int(seeds)), ("torch", "numpy"))


if __name__ == "__main__":
    main()
