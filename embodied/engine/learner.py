"""What every offline algorithm shares: its networks, its count of updates, its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from embodied.engine import random
from embodied.engine.data import Batch, OfflineData
from embodied.engine.flat import FlatParameters, TargetCopy, cosine_decay
from embodied.engine.networks import PerSeed, Weights, per_seed
from embodied.engine.program import Metrics, Program
from embodied.engine.stream import StreamedData


class StackedLearner:
    """Base of the algorithms in ``policies/``; implements ``embodied.types.Learner``.

    A subclass makes its networks with ``network`` and ``target`` and defines ``update_once``.

    Attributes:
        head: What the actor's last layer gives, for the policy package: ``gaussian``,
            ``squashed`` or ``deterministic``.
        period: Updates after which ``update_once`` runs the same code again.

    Args:
        seeds: One per learner; they seed the weights, the minibatches and all noise.
        batch_size: Transitions per update and seed.
        total_steps: Updates of the whole run, for schedules.
        device: Where the networks live.
        dtype: Of the parameters; float64 is for tests of exactness.
        compiled: See ``engine.program``.
    """

    head = "gaussian"
    period = 1

    def __init__(
        self,
        seeds: Sequence[int],
        *,
        batch_size: int,
        total_steps: int,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        compiled: bool = False,
    ) -> None:
        self.seeds, self.batch_size, self.total_steps = list(seeds), batch_size, total_steps
        self.device, self.dtype = torch.device(device), dtype
        self.steps = 0
        self._step = torch.zeros((), dtype=torch.int64, device=self.device)  # the same, out there
        self._keys = random.keys(self.seeds, self.device)
        self._networks: dict[str, FlatParameters] = {}
        self._targets: dict[str, TargetCopy] = {}
        self.program = Program(self._once, self.device, period=self.period, compiled=compiled)

    def update_once(self, batch: Batch, turn: int) -> Metrics:
        """Take one update on one minibatch; return metrics, ``[S]`` each, on the device.

        ``turn`` is the update's number modulo ``period``.
        """
        raise NotImplementedError

    def update(self, data: OfflineData | StreamedData, steps: int) -> Metrics:
        """Take ``steps`` updates; return the last one's metrics, float ``[S]`` each.

        Which transitions an update sees depends on its number and on the seed alone.
        """
        metrics: Metrics = {}
        keys = self._keys.to(data.indexed_on)
        for block in data.blocks(self._bits(keys, steps)):
            typed = block.map(lambda item: item.to(self.dtype))
            metrics = metrics | self.program.run(typed, self.steps)
            self.steps += len(block.observation)
        return metrics

    def _bits(self, keys: torch.Tensor, steps: int) -> Iterator[torch.Tensor]:
        """Yield what the minibatches of every block are drawn by, ``[K, S, B]``."""
        first, last, size = self.steps, self.steps + steps, self.program.block
        for start in range(first, last, size):
            updates = torch.arange(start, min(start + size, last), device=keys.device)
            yield random.bits(keys, updates, self.batch_size)

    def _once(self, batch: Batch, turn: int) -> Metrics:
        metrics = self.update_once(batch, turn)
        self._step.add_(1)
        return metrics

    @staticmethod
    def return_discount(config: Any) -> float | None:
        """Return the discount of the return to go that minibatches need, or None for none."""
        return None

    # --- what a subclass builds on ---------------------------------------------------------------

    def generators(self) -> list[torch.Generator]:
        """Return one generator per seed, for initial weights."""
        return [torch.Generator().manual_seed(seed) for seed in self.seeds]

    def per_seed(self, value: PerSeed) -> torch.Tensor:
        """Return a hyper-parameter as ``[S, 1]`` on the device."""
        return per_seed(value, len(self.seeds), device=self.device, dtype=self.dtype)

    def network(self, name: str, weights: Weights, learning_rate: PerSeed) -> FlatParameters:
        """Move initial weights ``[S * E, ...]`` to the device and give them an optimiser."""
        moved = {key: item.to(self.device, self.dtype) for key, item in weights.items()}
        members = len(next(iter(moved.values()))) // len(self.seeds)
        rate = self.per_seed(learning_rate).repeat_interleave(members, 0)
        self._networks[name] = FlatParameters(moved, rate)
        return self._networks[name]

    def target(self, name: str) -> TargetCopy:
        """Make the slowly following copy of a network."""
        self._targets[name] = TargetCopy(self._networks[name])
        return self._targets[name]

    def cosine(self) -> torch.Tensor:
        """Return the factor of a cosine schedule over the whole run."""
        return cosine_decay(self._step, self.total_steps).to(self.dtype)

    def normal(self, *shape: int) -> torch.Tensor:
        """Return this update's standard normal numbers ``[S, *shape]``; call it once per update."""
        return random.normal(self._keys, self._step, shape).to(self.dtype)

    def uniform(self, *shape: int) -> torch.Tensor:
        """Return this update's uniform numbers ``[S, *shape]``; call it once per update."""
        return random.uniform(self._keys, self._step, shape).to(self.dtype)

    # --- what the stages need --------------------------------------------------------------------

    def actor_weights(self) -> dict[str, torch.Tensor]:
        """Return a copy of the actors' weights, ``[S, ...]`` float32 each, on the CPU."""
        views = self._networks["actor"].views
        return {key: value.detach().float().cpu().clone() for key, value in views.items()}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return tensors that restore the learner bit for bit on CPU."""
        state = {key: value.clone() for key, value in self._tensors().items()}
        return {**state, "seeds": torch.tensor(self.seeds), "steps": torch.tensor(self.steps)}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what ``state_dict`` gave.

        Raises:
            KeyError: A tensor is missing.
            ValueError: It is the state of another number of seeds or of other networks.
        """
        if len(state["seeds"]) != len(self.seeds):
            raise ValueError(f"the state of {len(state['seeds'])} seeds for {len(self.seeds)}")
        for key, value in self._tensors().items():
            if state[key].shape != value.shape:
                raise ValueError(f"{key} has shape {list(state[key].shape)}")
            value.copy_(state[key])
        self.seeds, self.steps = state["seeds"].tolist(), int(state["steps"])
        self._keys.copy_(random.keys(self.seeds))
        self._step.fill_(self.steps)

    def _tensors(self) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        for name, network in self._networks.items():
            found |= network.tensors(name)
        return found | {f"target.{name}": item.flat for name, item in self._targets.items()}
