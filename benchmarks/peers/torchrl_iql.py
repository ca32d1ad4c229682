"""Worker in TorchRL's environment: its ``IQLLoss``, replay buffer and target updater, with Adam.

    python -m benchmarks.peers.torchrl_iql TASK

The library's own script takes one step on the sum of the three losses; here its three loss methods
are called in the order of the authors' code, which they allow: V, actor, critics, target.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn
from torch.distributions import Independent, Normal
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.modules import ProbabilisticActor, ValueOperator
from torchrl.objectives import IQLLoss, SoftUpdate, ValueEstimators

from benchmarks.peers.linears import sequential
from benchmarks.peers.protocol import Array, Task, serve

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0


class Actor(nn.Module):
    """A tanh mean and one free log std per action."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.net = sequential(task.layers("actor"))
        self.log_std = nn.Parameter(torch.tensor(task.arrays["actor.log_std"].ravel()))

    def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return location and scale, ``[B, A]`` each."""
        mean = torch.tanh(self.net(observation))
        return mean, self.log_std.clamp(LOG_STD_MIN, LOG_STD_MAX).exp().expand_as(mean)


class Critic(nn.Module):
    """Q(s, a)."""

    def __init__(self, task: Task, member: int) -> None:
        super().__init__()
        self.net = sequential(task.layers("critic", member))

    def forward(self, observation: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Return ``[B, 1]``."""
        return self.net(torch.cat([observation, action], -1))


def diagonal_normal(loc: torch.Tensor, scale: torch.Tensor) -> Independent:
    """Return the Gaussian whose log-probability is summed over the action's dimensions."""
    return Independent(Normal(loc, scale), 1)


def transitions(fields: list[Array]) -> TensorDict:
    """Return arrays in the layout that the losses read."""
    observation, action, reward, mask, next_observation = (torch.tensor(item) for item in fields)
    terminated = mask[:, None] == 0
    following = {
        "observation": next_observation,
        "reward": reward[:, None],
        "terminated": terminated,
        "done": terminated,
    }
    return TensorDict(
        {"observation": observation, "action": action, "next": following}, [len(reward)]
    )


class TorchrlIQL:
    """Implements ``protocol.Trainer``."""

    def __init__(self, task: Task) -> None:
        settings = task.settings
        torch.set_num_threads(settings["threads"])
        self.task, self.loss = task, self._loss(task)
        self.adam = {
            name: torch.optim.Adam(
                list(getattr(self.loss, f"{name}_network_params").values(True, True)),
                lr=settings["learning_rate"],
            )
            for name in ("value", "actor", "qvalue")
        }
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.adam["actor"], settings["total_steps"]
        )
        self.follow = SoftUpdate(self.loss, tau=settings["polyak"])
        self.buffer = TensorDictReplayBuffer(
            storage=LazyTensorStorage(len(task.arrays["data.reward"])),
            batch_size=settings["batch_size"],
        )
        self.buffer.extend(transitions(task.fields("data")))

    @staticmethod
    def _loss(task: Task) -> IQLLoss:
        module = TensorDictModule(Actor(task), in_keys=["observation"], out_keys=["loc", "scale"])
        actor = ProbabilisticActor(
            module, in_keys=["loc", "scale"], distribution_class=diagonal_normal
        )
        critics = [
            ValueOperator(Critic(task, member), in_keys=["observation", "action"])
            for member in (0, 1)
        ]
        value = ValueOperator(sequential(task.layers("value")), in_keys=["observation"])
        loss = IQLLoss(
            actor,
            critics,
            value,
            loss_function="l2",
            temperature=task.settings["temperature"],
            expectile=task.settings["expectile"],
        )
        loss.make_value_estimator(ValueEstimators.TD0, gamma=task.settings["discount"])
        return loss

    def train(self, updates: int) -> int:
        """See ``protocol.Trainer``."""
        for _ in range(updates):
            self._update(self.buffer.sample())
        return updates

    def _update(self, batch: TensorDict) -> None:
        self._descend("value", self.loss.value_loss(batch)[0])
        self._descend("actor", self.loss.actor_loss(batch)[0])
        self.schedule.step()
        self._descend("qvalue", self.loss.qvalue_loss(batch)[0])
        self.follow.step()

    def _descend(self, name: str, loss: torch.Tensor) -> None:
        self.adam[name].zero_grad()
        loss.backward()
        self.adam[name].step()

    def after_one_update(self) -> Mapping[str, Array]:
        """See ``protocol.Trainer``."""
        self._update(transitions(self.task.fields("batch")))
        return {
            **self._layers("actor", "actor_network_params.module.0.module.net"),
            **self._layers("value", "value_network_params.module"),
            **self._layers("critic", "qvalue_network_params.module.net"),
            **self._layers("target", "target_qvalue_network_params.module.net"),
            "actor.log_std": self._tensor("actor_network_params.module.0.module.log_std").numpy(),
        }

    def _layers(self, name: str, prefix: str) -> dict[str, Array]:
        """Return the layers at a prefix under the task's names; the critics are stacked there."""
        found = {}
        for i in range(len(self.task.settings["hidden"]) + 1):
            weight, bias = (self._tensor(f"{prefix}.{2 * i}.{part}") for part in ("weight", "bias"))
            found[f"{name}.{i}.weight"] = weight.reshape(-1, *weight.shape[-2:]).mT.numpy()
            found[f"{name}.{i}.bias"] = bias.reshape(-1, bias.shape[-1]).numpy()
        return found

    def _tensor(self, name: str) -> torch.Tensor:
        return dict([*self.loss.named_parameters(), *self.loss.named_buffers()])[name].detach()


if __name__ == "__main__":
    serve(TorchrlIQL, ("torchrl", "tensordict", "torch", "numpy"))
