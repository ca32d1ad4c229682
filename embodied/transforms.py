"""Changes to rewards and transitions that any learner can use: reward ensembles and corruption.

Sources: Coste et al. 2024, "Reward Model Ensembles Help Mitigate Overoptimization" (uncertainty-
weighted optimisation); Yang et al. 2024, "Towards Robust Offline Reinforcement Learning under
Diverse Data Corruption" (random corruption of observations, actions, rewards and dynamics).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from embodied.dataset import Dataset, Episode
from embodied.errors import UserError, at_least
from embodied.types import Array, BoolArray, FloatArray, Transitions

REWARD = "environment_reward"  # the stored column that other formats take for the reward
REWARD_RANGE = 30.0  # a corrupted reward is uniform in +-30 scale, in the reward's own units
# What each kind of corruption changes of a transition.
TARGETS = {
    "observation": "observation",
    "action": "action",
    "reward": "reward",
    "dynamics": "next_observation",
}
_BLOCK = 65_536  # transitions read at once


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of every member of an ensemble, measured once and kept."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def fit_scaling(members: Sequence[Array]) -> Scaling:
    """Measure ``E`` rewards on a sample, float [N] each.

    A member that is the same everywhere gets a standard deviation of 1: it then says nothing.
    """
    arrays = [np.asarray(member, np.float64) for member in members]
    spreads = [float(array.std()) for array in arrays]
    return Scaling(
        mean=tuple(float(array.mean()) for array in arrays),
        std=tuple(spread if spread > 0 else 1.0 for spread in spreads),
    )


def ensemble_moments(members: Sequence[Array], scaling: Scaling) -> tuple[Array, Array]:
    """Return mean and variance over the re-scaled members, [N] each.

    Members are re-scaled first (z-scores), since otherwise the one with the largest units decides.
    NumPy arrays and torch tensors both work and keep their type.
    """
    scaled = [
        (member - mean) / std
        for member, mean, std in zip(members, scaling.mean, scaling.std, strict=True)
    ]
    mean = sum(scaled) / len(scaled)
    variance = sum((item - mean) ** 2 for item in scaled) / len(scaled)
    return mean, variance


def ensemble_reward(
    members: Sequence[Array], uncertainty_weight: float, scaling: Scaling | None = None
) -> Array:
    """Combine ``E`` rewards, [E, N] or a list of [N], into one [N]: mean - weight * variance.

    Args:
        members: Rewards or labels of the same transitions.
        uncertainty_weight: 0 gives the mean of the z-scores; the paper's code uses 1.
        scaling: What ``fit_scaling`` measured elsewhere; measured on these values when None.
    """
    mean, variance = ensemble_moments(members, scaling or fit_scaling(members))
    return mean - uncertainty_weight * variance


@dataclass(frozen=True)
class Corruption:
    """Random corruption of one part of some transitions.

    Raises:
        UserError: An unknown kind, or a rate or scale out of range.
    """

    kind: str  # observation, action, reward or dynamics (the next observation)
    rate: float = 0.3  # share of the transitions, rounded to a whole number of them
    scale: float = 1.0  # half width of the noise, in standard deviations of each element
    seed: int = 0  # of the choice and of the noise

    def __post_init__(self) -> None:
        if self.kind not in TARGETS:
            raise UserError(f"unknown corruption {self.kind!r}; known: {', '.join(TARGETS)}")
        if not 0.0 <= self.rate <= 1.0 or not 0.0 <= self.scale < float("inf"):
            raise UserError("corruption needs a rate between 0 and 1 and a scale of at least 0")
        at_least(0, {"seed": self.seed})

    def chosen(self, count: int) -> BoolArray:
        """Return which of ``count`` transitions are corrupted, bool [count]: an exact share."""
        order = np.random.default_rng((self.seed, 0)).permutation(count)
        mask = np.zeros(count, bool)
        mask[order[: round(self.rate * count)]] = True
        return mask

    def generator(self) -> np.random.Generator:
        """Return the generator of the noise."""
        return np.random.default_rng((self.seed, 1))

    def noisy(self, values: Array, std: FloatArray | None, rng: np.random.Generator) -> Array:
        """Return chosen values [M, ...] corrupted, in their own type.

        Observations and actions get uniform noise of ``scale`` standard deviations and are not
        clipped; a reward is replaced by a uniform number within ``30 * scale`` of 0.
        """
        if std is None:
            bound = REWARD_RANGE * self.scale
            return rng.uniform(-bound, bound, values.shape).astype(values.dtype)
        noise = rng.uniform(-self.scale, self.scale, values.shape) * std
        return (values + noise).astype(values.dtype)


def _changeable(values: Array) -> Array:
    # Whole numbers and truth values cannot hold what noise makes of them.
    return np.array(values, None if values.dtype.kind == "f" else np.float32)


def standard_deviation(blocks: Iterable[Array]) -> FloatArray:
    """Return the standard deviation over the rows of all blocks, float64 [D], in one pass."""
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for block in blocks:
        values = np.asarray(block, np.float64)
        centre = values.mean(axis=0)
        total, shift = count + len(values), centre - mean
        squares = squares + ((values - centre) ** 2).sum(axis=0)
        squares = squares + shift**2 * (count * len(values) / total)
        mean, count = mean + shift * (len(values) / total), total
    return np.asarray(np.sqrt(squares / count))


def corrupt_transitions(batch: Transitions, corruption: Corruption) -> Transitions:
    """Return transitions of which a share is corrupted; the others are the same bit for bit.

    Args:
        batch: NumPy arrays [N, ...]; ``kind=reward`` needs its ``reward``.
        corruption: What to change; the standard deviations are those of ``batch``.
    """
    target = TARGETS[corruption.kind]
    values = getattr(batch, target)
    if values is None:
        raise UserError("these transitions have no reward to corrupt; label them first")
    mask, std = corruption.chosen(len(batch)), None
    if corruption.kind != "reward":
        starts = range(0, len(batch), _BLOCK)
        std = standard_deviation(values[start : start + _BLOCK] for start in starts)
    changed = _changeable(values)
    changed[mask] = corruption.noisy(changed[mask], std, corruption.generator())
    changes: dict[str, Any] = {target: changed}
    return replace(batch, **changes)


def corrupt_episodes(
    dataset: Dataset, episodes: Iterable[Episode], corruption: Corruption
) -> Iterator[Episode]:
    """Yield the dataset's episodes with the same transitions corrupted as above.

    ``s_{t+1}`` and the next transition's ``s_t`` share a row. Where they come to differ, the
    episode is cut (its first part is truncated there, so still bootstrapped), and nothing but the
    chosen transitions changes. Named fields stay clean: a reward that reads them is not corrupted.

    Args:
        dataset: Where the standard deviations come from.
        episodes: All of its episodes in order, perhaps with another reward.
        corruption: What to change.
    """
    mask, rng = corruption.chosen(len(dataset)), corruption.generator()
    target, std = TARGETS[corruption.kind], None
    if corruption.kind != "reward":
        std = standard_deviation(
            getattr(dataset.transitions(chunk), target) for chunk in dataset.chunks(_BLOCK)
        )
    start = 0
    for episode in episodes:
        chosen = mask[start : start + len(episode.action)]
        start += len(chosen)
        yield from _corrupt_episode(episode, chosen, corruption, std, rng)


def _corrupt_episode(
    episode: Episode,
    chosen: npt.NDArray[np.bool_],
    corruption: Corruption,
    std: FloatArray | None,
    rng: np.random.Generator,
) -> Iterator[Episode]:
    parts: dict[str, Any] = {
        "observation": np.array(episode.observation[:-1]),
        "next_observation": np.array(episode.observation[1:]),
        "action": np.array(episode.action),
    }
    if corruption.kind == "reward":
        if REWARD not in episode.columns:
            raise UserError("the dataset has no reward to corrupt; carry one with label=NAME")
        parts["reward"] = _changeable(episode.columns[REWARD])
    values = parts[TARGETS[corruption.kind]]
    values[chosen] = corruption.noisy(values[chosen], std, rng)
    columns = dict(episode.columns)
    if corruption.kind == "reward":
        columns[REWARD] = parts["reward"]
    # A transition whose own s_t changed begins a piece, one whose s_{t+1} changed ends it.
    cuts = {"observation": np.flatnonzero(chosen), "dynamics": np.flatnonzero(chosen) + 1}
    length = len(chosen)
    inner = [int(cut) for cut in cuts.get(corruption.kind, ()) if 0 < cut < length]
    for first, after in zip([0, *inner], [*inner, length], strict=True):
        last = parts["next_observation"][after - 1 : after]
        yield Episode(
            observation=np.concatenate([parts["observation"][first:after], last]),
            action=parts["action"][first:after],
            terminated=episode.terminated and after == length,
            state={name: rows[first : after + 1] for name, rows in episode.state.items()},
            columns={name: values[first:after] for name, values in columns.items()},
        )
