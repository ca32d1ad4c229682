"""Worker in d3rlpy's environment: its IQL, fed by its replay buffer as ``fit`` does.

    python -m benchmarks.peers.d3rlpy_iql TASK

``fit`` itself is not called: it logs. Two differences that its public surface does not let us
close: V and the critics take one step together, so that the critics see the old V and not the new
one; and log std is a sigmoid of a parameter. Neither changes how many products an update takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import d3rlpy
import numpy as np
import torch
from d3rlpy.dataset import BasicTransitionPicker, EpisodeGenerator, InfiniteBuffer, ReplayBuffer
from torch import nn

from benchmarks.peers.linears import load_layers, read_layers
from benchmarks.peers.protocol import Array, Task, serve

EPISODE = 50  # transitions; the data's content does not matter for speed
LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0  # d3rlpy's for IQL


def linears(module: nn.Module) -> list[nn.Linear]:
    """Return the linear layers of a network, first to last."""
    return [item for item in module.modules() if isinstance(item, nn.Linear)]


class D3rlpyIQL:
    """Implements ``protocol.Trainer``."""

    def __init__(self, task: Task) -> None:
        self.task = task
        torch.set_num_threads(task.settings["threads"])
        observation, action = task.arrays["data.observation"], task.arrays["data.action"]
        self.algorithm = self._algorithm(task.settings)
        self.algorithm.create_impl(observation.shape[1:], action.shape[1])
        assert self.algorithm.impl is not None
        self.modules: Any = self.algorithm.impl.modules
        self._load_weights()
        self.buffer = self._buffer()

    @staticmethod
    def _algorithm(settings: Mapping[str, Any]) -> d3rlpy.algos.IQL:
        schedule = d3rlpy.optimizers.CosineAnnealingLRFactory(settings["total_steps"])
        encoder = d3rlpy.models.VectorEncoderFactory(list(settings["hidden"]))
        return d3rlpy.algos.IQLConfig(
            actor_learning_rate=settings["learning_rate"],
            critic_learning_rate=settings["learning_rate"],
            actor_optim_factory=d3rlpy.optimizers.AdamFactory(lr_scheduler_factory=schedule),
            actor_encoder_factory=encoder,
            critic_encoder_factory=encoder,
            value_encoder_factory=encoder,
            batch_size=settings["batch_size"],
            gamma=settings["discount"],
            tau=settings["polyak"],
            expectile=settings["expectile"],
            weight_temp=settings["temperature"],
            max_weight=settings["weight_clip"],
        ).create(device="cpu:0")

    def _load_weights(self) -> None:
        modules = self.modules
        load_layers(linears(modules.policy), self.task.layers("actor"))
        load_layers(linears(modules.value_func), self.task.layers("value"))
        for functions in (modules.q_funcs, modules.targ_q_funcs):
            for member, function in enumerate(functions):
                load_layers(linears(function), self.task.layers("critic", member))
        share = (0.0 - LOG_STD_MIN) / (LOG_STD_MAX - LOG_STD_MIN)  # a log std of 0, as the others
        modules.policy._logstd.data.fill_(math.log(share / (1.0 - share)))

    def _buffer(self) -> ReplayBuffer:
        observation, action, reward, _, _ = self.task.fields("data")
        timeouts = np.zeros(len(reward), np.float32)
        timeouts[EPISODE - 1 :: EPISODE] = 1.0
        episodes = EpisodeGenerator(
            observation, action, reward[:, None], np.zeros_like(timeouts), timeouts
        )()
        return ReplayBuffer(
            InfiniteBuffer(), episodes=episodes, transition_picker=BasicTransitionPicker()
        )

    def train(self, updates: int) -> int:
        """See ``protocol.Trainer``."""
        for _ in range(updates):
            self.algorithm.update(
                self.buffer.sample_transition_batch(self.task.settings["batch_size"])
            )
        return updates

    def after_one_update(self) -> Mapping[str, Array]:
        """See ``protocol.Trainer``."""
        observation, action, reward, mask, next_observation = self.task.fields("batch")
        self.algorithm.update(
            d3rlpy.dataset.TransitionMiniBatch(
                observations=observation,
                actions=action,
                rewards=reward[:, None],
                next_observations=next_observation,
                next_actions=action,  # IQL does not look at them
                terminals=1.0 - mask[:, None],
                intervals=np.ones_like(mask)[:, None],
                transitions=[],
            )
        )
        return {
            **read_layers("actor", [self.modules.policy]),
            **read_layers("value", [self.modules.value_func]),
            **read_layers("critic", self.modules.q_funcs),
            **read_layers("target", self.modules.targ_q_funcs),
        }


if __name__ == "__main__":
    serve(D3rlpyIQL, ("d3rlpy", "torch", "numpy"))
