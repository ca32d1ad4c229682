"""Offline data on the training device, for ``S`` learners that may differ in data and reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

ACTION_MARGIN = 1e-5  # actions are kept this far inside (-1, 1), as in the IQL authors' code


class Batch(NamedTuple):
    """One minibatch for every learner in the stack."""

    observation: torch.Tensor  # [S, B, O], normalised
    action: torch.Tensor  # [S, B, A] in (-1, 1)
    reward: torch.Tensor  # [S, B]
    mask: torch.Tensor  # [S, B], 1 - terminated: what bootstrapping is multiplied with
    next_observation: torch.Tensor  # [S, B, O], normalised


@dataclass(frozen=True)
class Source:
    """One dataset as arrays: ``T + 1`` rows per episode beside ``T`` transitions (see Dataset)."""

    observation: npt.NDArray[np.float32]  # [R, O]
    action: npt.NDArray[np.float32]  # [N, A], in the action's own units
    row: npt.NDArray[np.int64]  # [N], row of s_t; s_{t+1} is the next row
    terminated: npt.NDArray[np.bool_]  # [N]


@dataclass(frozen=True)
class Normaliser:
    """Maps raw observations and actions to what networks see."""

    mean: npt.NDArray[np.float32]  # [O]
    std: npt.NDArray[np.float32]  # [O]
    low: npt.NDArray[np.float32]  # [A] action bounds in the action's own units
    high: npt.NDArray[np.float32]  # [A]

    @classmethod
    def fit(cls, source: Source, low: Sequence[float], high: Sequence[float]) -> Normaliser:
        """Take the observation's statistics from a dataset (float64 sums; constants keep std 1)."""
        mean = source.observation.mean(0, dtype=np.float64)
        std = source.observation.std(0, dtype=np.float64)
        std = np.where(std < 1e-3, 1.0, std)
        floats = (np.asarray(item, np.float32) for item in (mean, std, low, high))
        return cls(*floats)


class OfflineData:
    """Datasets and rewards of ``S`` learners, resident on the device.

    Args:
        sources: The distinct datasets.
        normalisers: One per dataset.
        learners: For every learner, the index of its dataset and its reward column [N].
        device: Where everything lies and indices are used.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        normalisers: Sequence[Normaliser],
        learners: Sequence[tuple[int, npt.NDArray[np.float32]]],
        device: str = "cpu",
    ) -> None:
        observation = [
            (s.observation - n.mean) / n.std for s, n in zip(sources, normalisers, strict=True)
        ]
        action = [
            np.clip(
                2.0 * (s.action - n.low) / (n.high - n.low) - 1.0,
                -1.0 + ACTION_MARGIN,
                1.0 - ACTION_MARGIN,
            )
            for s, n in zip(sources, normalisers, strict=True)
        ]
        rows = np.cumsum([0] + [len(s.observation) for s in sources])
        counts = [len(s.action) for s in sources]
        starts = np.cumsum([0, *counts])

        def tensor(arrays: Sequence[npt.NDArray[Any]]) -> torch.Tensor:
            return torch.as_tensor(np.concatenate(arrays)).to(device)

        self.observation = tensor(observation)
        self.action = tensor(action)
        self.row = tensor([s.row + rows[i] for i, s in enumerate(sources)])
        self.mask = tensor([(~s.terminated).astype(np.float32) for s in sources])
        self.reward = tensor([reward for _, reward in learners])
        self.count = torch.tensor([[counts[i]] for i, _ in learners], device=device)
        self._start = torch.tensor([[starts[i]] for i, _ in learners], device=device)
        lengths = [len(reward) for _, reward in learners]
        self._reward_start = torch.tensor(np.cumsum([0, *lengths[:-1]])[:, None], device=device)

    def batch(self, uniform: torch.Tensor) -> Batch:
        """Gather the transitions that uniform numbers [S, B] in [0, 1) point at."""
        index = (uniform * self.count).long().clamp_max_(self.count - 1)
        at = index + self._start
        row = self.row[at]
        return Batch(
            observation=self.observation[row],
            action=self.action[at],
            reward=self.reward[index + self._reward_start],
            mask=self.mask[at],
            next_observation=self.observation[row + 1],
        )


class IndexDraw:
    """Uniform numbers for minibatches, every learner from its own generator."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw(self, size: int) -> torch.Tensor:
        """Return float64 [S, size] in [0, 1): enough bits for any dataset's index."""
        numbers = [torch.rand(size, generator=g, dtype=torch.float64) for g in self._generators]
        return torch.stack(numbers)

    def state(self) -> torch.Tensor:
        """Return the generators' states, uint8 [S, bytes]."""
        return torch.stack([generator.get_state() for generator in self._generators])

    def load(self, state: torch.Tensor) -> None:
        """Restore what ``state`` gave."""
        for generator, row in zip(self._generators, state, strict=True):
            generator.set_state(row.clone())


def standardise(reward: npt.NDArray[np.float32], *, shift: bool) -> npt.NDArray[np.float32]:
    """Return rewards with standard deviation 1 and, when shifted, mean 0.

    A shift leaves the best policy as it is only where episodes never terminate; elsewhere it pays
    for living longer or shorter. A constant keeps its value, or becomes 0 when shifted.
    """
    mean, std = reward.mean(dtype=np.float64), reward.std(dtype=np.float64)
    moved = reward - mean if shift else reward
    if std <= 1e-8:
        return np.zeros_like(reward) if shift else reward
    return np.asarray(moved / std, np.float32)
