"""Offline data for ``S`` stacked learners that may differ in dataset and in reward.

Datasets stay as they are: on a CPU their memory-mapped columns are indexed where they lie, so that
training reads the pages that it needs and no more; on a GPU they are copied to the device once.
Observations are normalised and actions scaled when a block of minibatches is gathered.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

ACTION_MARGIN = 1e-5  # actions are kept this far inside (-1, 1), as in the IQL authors' code
CHUNK = 65_536  # rows that statistics are summed over at a time


class Batch(NamedTuple):
    """A minibatch for every learner in the stack, or a block of ``K`` with a leading axis more."""

    observation: torch.Tensor  # [S, B, O], normalised
    action: torch.Tensor  # [S, B, A] in (-1, 1)
    reward: torch.Tensor  # [S, B]
    mask: torch.Tensor  # [S, B], 1 - terminated: what bootstrapping is multiplied with
    next_observation: torch.Tensor  # [S, B, O], normalised
    return_to_go: torch.Tensor | None = None  # [S, B], where a learner asks for it

    def at(self, k: int) -> Batch:
        """Return minibatch ``k`` of a block."""
        return self.map(lambda item: item[k])

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        """Return the batch with ``function`` applied to every tensor."""
        found: dict[str, Any] = {
            name: None if item is None else function(item) for name, item in self._asdict().items()
        }
        return self._replace(**found)


@dataclass(frozen=True)
class Source:
    """One dataset as arrays: ``T + 1`` rows per episode beside ``T`` transitions (see Dataset)."""

    observation: npt.NDArray[np.floating[Any]]  # [R, O]
    action: npt.NDArray[np.floating[Any]]  # [N, A], in the action's own units
    terminated: npt.NDArray[np.bool_]  # [N]
    episode_starts: npt.NDArray[np.int64]  # [episodes], first transition of each

    def __len__(self) -> int:
        return len(self.action)


@dataclass(frozen=True)
class RewardColumn:
    """A reward per transition, ``(values - shift) / scale``; the values stay where they lie."""

    values: npt.NDArray[Any]  # [N], numbers or truth values
    shift: float = 0.0
    scale: float = 1.0
    return_to_go: npt.NDArray[np.float32] | None = None  # [N], of the shifted and scaled reward


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
        mean, std = moments(source.observation)
        std = np.where(std < 1e-3, 1.0, std)
        floats = (np.asarray(item, np.float32) for item in (mean, std, low, high))
        return cls(*floats)


class OfflineData:
    """Datasets and rewards of ``S`` learners, indexed on the device.

    Args:
        sources: The distinct datasets.
        normalisers: One per dataset.
        learners: For every learner, the index of its dataset and its reward.
        device: Where everything lies and is gathered. On ``cpu`` nothing is copied.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        normalisers: Sequence[Normaliser],
        learners: Sequence[tuple[int, RewardColumn]],
        device: str | torch.device = "cpu",
    ) -> None:
        self.device = self.indexed_on = torch.device(device)
        moved: dict[int, torch.Tensor] = {}  # learners share columns: each goes over once
        self._parts = [
            _Part(source, normaliser, [r for at, r in learners if at == i], self.device, moved)
            for i, (source, normaliser) in enumerate(zip(sources, normalisers, strict=True))
        ]
        self._members = [
            torch.tensor([s for s, (at, _) in enumerate(learners) if at == i], dtype=torch.int64)
            for i in range(len(sources))
        ]
        order = torch.cat(self._members)
        sorted_already = bool((order == torch.arange(len(order))).all())
        self._back = None if sorted_already else order.argsort().to(self.device)
        self._members = [item.to(self.device) for item in self._members]

    def block(self, bits: torch.Tensor) -> Batch:
        """Gather the transitions that random bits, int64 ``[K, S, B]`` from 0 up, point at."""
        found = [
            part.gather(bits[:, members] % part.count)
            for part, members in zip(self._parts, self._members, strict=True)
            if len(members)
        ]
        if len(found) == 1:
            return found[0]
        columns: dict[str, Any] = {
            name: _joined([getattr(item, name) for item in found], torch.cat)
            for name in Batch._fields
        }
        joined = Batch(**columns)
        return joined if self._back is None else joined.map(lambda item: item[:, self._back])

    def blocks(self, bits: Iterable[torch.Tensor]) -> Iterator[Batch]:
        """Yield the block of every tensor of bits."""
        return map(self.block, bits)


class _Part:
    """One dataset and the rewards of the learners that use it."""

    def __init__(
        self,
        source: Source,
        normaliser: Normaliser,
        rewards: Sequence[RewardColumn],
        device: torch.device,
        moved: dict[int, torch.Tensor],
    ) -> None:
        self.count = len(source)

        def tensor(array: npt.NDArray[Any]) -> torch.Tensor:
            if id(array) not in moved:
                moved[id(array)] = _tensor(array, device)
            return moved[id(array)]

        self._observation = tensor(source.observation)
        self._action = tensor(source.action)
        self._terminated = tensor(source.terminated)
        self._starts = tensor(source.episode_starts)
        self._rewards = [(tensor(item.values), item.shift, item.scale) for item in rewards]
        self._returns = [
            None if item.return_to_go is None else tensor(item.return_to_go) for item in rewards
        ]
        self._mean, self._std, self._low, self._high = (
            torch.as_tensor(item, device=device)
            for item in (normaliser.mean, normaliser.std, normaliser.low, normaliser.high)
        )

    def gather(self, index: torch.Tensor) -> Batch:
        """Return the transitions at ``index``, ``[K, learners, B]``."""
        # Every episode before this one has one row more than it has transitions.
        row = index + torch.searchsorted(self._starts, index, right=True) - 1
        rewards = [
            (values[index[:, i]].float() - shift) / scale
            for i, (values, shift, scale) in enumerate(self._rewards)
        ]
        returns = [
            None if values is None else values[index[:, i]]
            for i, values in enumerate(self._returns)
        ]
        span = self._high - self._low
        scaled = 2.0 * (self._action[index].float() - self._low) / span - 1.0
        return Batch(
            observation=self._normalised(row),
            action=scaled.clamp_(-1.0 + ACTION_MARGIN, 1.0 - ACTION_MARGIN),
            reward=torch.stack(rewards, 1),
            mask=1.0 - self._terminated[index].float(),
            next_observation=self._normalised(row + 1),
            return_to_go=_joined(returns, torch.stack),
        )

    def _normalised(self, row: torch.Tensor) -> torch.Tensor:
        return (self._observation[row].float() - self._mean) / self._std


def _joined(
    items: Sequence[torch.Tensor | None], join: Callable[[list[torch.Tensor], int], torch.Tensor]
) -> torch.Tensor | None:
    """Join tensors along the axis of the learners; None where any of them has none."""
    found = [item for item in items if item is not None]
    return join(found, 1) if len(found) == len(items) else None


def _tensor(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """Return an array as a tensor, which on a CPU shares its memory."""
    with warnings.catch_warnings():
        # A memory-mapped column cannot be written to, and nothing here writes to it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.as_tensor(array).to(device)


def moments(values: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return mean and standard deviation over the first axis, chunk by chunk in float64."""
    chunks = range(0, len(values), CHUNK)
    total = sum(values[i : i + CHUNK].sum(0, dtype=np.float64) for i in chunks)
    mean = np.asarray(total / len(values))
    square = sum(np.square(values[i : i + CHUNK] - mean).sum(0) for i in chunks)
    return mean, np.sqrt(np.asarray(square / len(values)))


def standardise(values: npt.NDArray[Any], *, shift: bool) -> RewardColumn:
    """Return rewards with standard deviation 1 and, when shifted, mean 0.

    A shift leaves the best policy as it is only where episodes never terminate; elsewhere it pays
    for living longer or shorter. A constant keeps its value, or becomes 0 when shifted.
    """
    mean, std = (float(item) for item in moments(values))
    return RewardColumn(values, mean if shift else 0.0, std if std > 1e-8 else 1.0)


def returns_to_go(
    column: RewardColumn, episode_starts: npt.NDArray[np.int64], discount: float
) -> npt.NDArray[np.float32]:
    """Return the discounted sum of the rewards that follow within the episode, float32 [N].

    An episode that was cut off by time ends its sum there: for rewards above zero a lower bound.
    """
    edges = np.append(episode_starts, len(column.values))
    found = np.empty(len(column.values), np.float32)
    for i in range(0, len(episode_starts), 256):  # episodes at a time: the column may be large
        part = edges[i : i + 257]
        values = np.asarray(column.values[part[0] : part[-1]], np.float64)
        reward = (values - column.shift) / column.scale
        found[part[0] : part[-1]] = _returns(reward, part - part[0], discount)
    return found


def _returns(
    reward: npt.NDArray[np.float64], edges: npt.NDArray[np.int64], discount: float
) -> npt.NDArray[np.float64]:
    """Return the returns to go of consecutive episodes; ``edges`` are their starts and the end."""
    starts, ends = edges[:-1], edges[1:]
    following = np.zeros(len(reward))
    # Backwards through all episodes at once: step t from the end of each that is long enough.
    longest = int((ends - starts).max())
    order = np.argsort(starts - ends, kind="stable")  # the longest first
    lengths = (ends - starts)[order]
    last = ends[order] - 1
    for t in range(longest):
        at = last[: np.searchsorted(-lengths, -t, side="left")] - t
        later = following[at + 1] if t else 0.0
        following[at] = reward[at] + discount * later
    return following
