"""A sequential comparison of agents that keeps its level: permutation tests over training seeds.

The idea is AdaStop's (Mathieu et al. 2023, "AdaStop: adaptive statistical testing for sound
comparisons of Deep RL agents"): every agent is trained with a few seeds, permutation tests on the
differences of means decide what they can, and only agents in an undecided pair get more seeds.
The level argument here is another one and holds exactly, for any number of permutations.

**One hypothesis.** Let a partition of the agents say that agents in the same block have the same
distribution of scores. Under it, at every interim, the scores of a block may be exchanged among its
agents. Besides the scores as they are, ``B`` tracks are kept: the same scores, shuffled within each
block and each interim. The statistic of a track is the largest absolute difference of two
cumulative means within a block. All ``B + 1`` tracks are exchangeable, and which of them cross at
interim ``k`` of ``K`` is decided symmetrically: a track crosses when at most
``alpha * (B + 1) * k / K`` tracks have crossed before or are at least as extreme as it among those
that have not. At most ``alpha * (B + 1)`` tracks ever cross, so the true one does with probability
``alpha`` at most. (Absolute differences, as in the statistic: a boundary from signed ones is that
of a one-sided test and lets about twice the level through.)

**All pairs.** A pair is decided when every partition that joins it has crossed (closed testing,
Marcus, Peritz and Gabriel 1976, which is what stepping down means here). The truly equal agents
form one partition, and a false decision needs that one to cross: the probability of any false
decision is at most ``alpha``, also when some of the agents do differ.

**Stopping.** An agent without an undecided pair is in no open partition's block any more. So every
open partition has all its scores, and the argument above needs no others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from embodied.errors import UserError, at_least

Floats = npt.NDArray[np.float64]
Pair = tuple[str, str]
Block = tuple[int, ...]  # places of agents that a hypothesis takes for equal
Partition = tuple[Block, ...]  # its blocks of two agents or more
Verdict = Literal["larger", "smaller", "equal", "undecided"]

MAX_AGENTS = 8  # 4140 partitions; each more agent makes that five times as many
DIGITS = 9  # of a statistic relative to the largest: sums in another order stay ties


@dataclass(frozen=True)
class Decision:
    """What is known about a pair ``(first, second)``.

    Attributes:
        verdict: Whether the first agent's mean is ``larger`` or ``smaller``; ``equal`` when the
            last interim has passed without a decision, which is no proof of equality.
        p_value: Smallest level to be spent by this interim at which the pair would be decided,
            adjusted for all pairs. With one interim the usual p-value of a permutation test; with
            several it is held against ``alpha * interim / max_interims``.
        interim: When that was computed, from 1; the interim of the decision once there is one.
    """

    verdict: Verdict
    p_value: float
    interim: int


@dataclass
class _Spending:
    """The tracks of one partition that have not crossed; one flag stands for all at first."""

    alive: npt.NDArray[np.bool_] = field(default_factory=lambda: np.ones(1, bool))
    crossed: int = 0
    p_value: float = 1.0

    def spend(self, statistic: Floats, level: float) -> bool:
        """Let tracks cross; ``level`` is what may be spent up to now. True if the real one does."""
        open_values = np.where(self.alive, statistic, -np.inf)
        at_least_as_extreme = int((open_values >= statistic[0]).sum())
        self.p_value = (self.crossed + at_least_as_extreme) / len(statistic)
        quota = math.floor(level * len(statistic) + 1e-9) - self.crossed
        boundary = np.partition(open_values, -quota - 1)[-quota - 1]  # at most quota lie above
        crossing = open_values > boundary
        self.alive = self.alive & ~crossing
        self.crossed += int(crossing.sum())
        return bool(crossing[0])


class SequentialComparison:
    """Compares every pair of agents, seed by seed, at a level that all decisions share.

    Args:
        agents: Their names, 2 to ``MAX_AGENTS``.
        alpha: Probability of any false decision that is accepted.
        max_interims: How often the agents are looked at, at most.
        permutations: Shuffled tracks; the smallest p-value is ``1 / (permutations + 1)``.
        seed: Of the shuffling.

    Raises:
        UserError: Too few or too many agents, one named twice, or an ``alpha`` outside (0, 0.5].
    """

    def __init__(
        self,
        agents: Sequence[str],
        *,
        alpha: float = 0.05,
        max_interims: int = 1,
        permutations: int = 9999,
        seed: int = 0,
    ) -> None:
        if not 2 <= len(agents) <= MAX_AGENTS or len(set(agents)) != len(agents):
            raise UserError(
                f"{len(agents)} agents cannot be compared; name 2 to {MAX_AGENTS}, none twice"
            )
        if not 0 < alpha <= 0.5:
            raise UserError(f"alpha is {alpha}; it must lie between 0 and 0.5, for example 0.05")
        at_least(1, {"max_interims": max_interims, "permutations": permutations})
        self.agents = tuple(agents)
        self.alpha, self.max_interims = alpha, max_interims
        self.interim = 0
        self._permutations, self._rng = permutations, np.random.default_rng(seed)
        self._open = {item: _Spending() for item in partitions(len(agents))}
        self._sums: dict[Block, Floats] = {}
        self._counts = np.zeros(len(agents), np.int64)
        self._p_values: dict[Partition, float] = {}  # of the partitions that crossed
        self._larger: dict[Block, bool] = {}
        self.decisions: dict[Pair, Decision] = {
            pair: Decision("undecided", 1.0, 0) for pair in itertools.combinations(self.agents, 2)
        }

    @property
    def active(self) -> tuple[str, ...]:
        """The agents that need more scores: those of an undecided pair."""
        wanted = {
            name
            for pair, decision in self.decisions.items()
            if decision.verdict == "undecided"
            for name in pair
        }
        return tuple(name for name in self.agents if name in wanted)

    def add(self, scores: Mapping[str, npt.ArrayLike]) -> dict[Pair, Decision]:
        """Take the next interim's scores and decide what can be decided.

        Args:
            scores: By name of each active agent, ``[n]`` new scores, one per training seed. How
                many there will be is fixed beforehand; AdaStop suggests 5.

        Returns:
            The decision about every pair, in the order of the agents.

        Raises:
            UserError: Scores of other agents than the active ones, none, or not finite ones.
        """
        new = self._checked(scores)
        self.interim += 1
        for place, values in new.items():
            self._counts[place] += len(values)
        blocks = sorted({block for partition in self._open for block in partition})
        spread = {block: self._spread(block, [new[place] for place in block]) for block in blocks}
        level = self.alpha * self.interim / self.max_interims
        for partition in list(self._open):
            statistic = np.max([spread[block] for block in partition], axis=0)
            if self._open[partition].spend(_rounded(statistic), level):
                self._p_values[partition] = self._open.pop(partition).p_value
                if len(partition) == 1 and len(partition[0]) == 2:
                    means = self._sums[partition[0]][0] / self._counts[list(partition[0])]
                    self._larger[partition[0]] = bool(means[0] > means[1])
        self._decide()
        return dict(self.decisions)

    def _checked(self, scores: Mapping[str, npt.ArrayLike]) -> dict[int, Floats]:
        if not self.active or set(scores) != set(self.active):
            raise UserError(
                f"scores of {', '.join(sorted(scores)) or 'nobody'}, but these agents need some: "
                f"{', '.join(self.active) or 'none, every pair is decided'}"
            )
        found = {
            self.agents.index(name): np.asarray(item, np.float64) for name, item in scores.items()
        }
        for place, values in found.items():
            if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
                raise UserError(f"{self.agents[place]} needs a list of one finite score or more")
        return found

    def _spread(self, block: Block, scores: Sequence[Floats]) -> Floats:
        """Return each track's largest absolute difference of two cumulative means, ``[B + 1]``."""
        sums = self._shuffled_sums(scores)
        self._sums[block] = self._sums.get(block, np.zeros_like(sums)) + sums
        means = self._sums[block] / self._counts[list(block)]
        return np.asarray(means.max(axis=1) - means.min(axis=1), np.float64)

    def _shuffled_sums(self, scores: Sequence[Floats]) -> Floats:
        """Return the sums of each agent's scores on every track, ``[B + 1, agents]``."""
        pooled, first = np.concatenate(scores), len(scores[0])
        one_test = len(self.agents) == 2 and self.max_interims == 1
        if one_test and math.comb(len(pooled), first) <= self._permutations:
            # Few enough to take them all, the scores as they are among them, at the first place.
            every = np.array(list(itertools.combinations(range(len(pooled)), first)))
            sums = pooled[every].sum(axis=1)
            return np.stack([sums, pooled.sum() - sums], axis=1)
        tracks = np.tile(pooled, (self._permutations + 1, 1))
        self._rng.permuted(tracks[1:], axis=1, out=tracks[1:])
        starts = np.cumsum([0, *(len(values) for values in scores[:-1])])
        return np.asarray(np.add.reduceat(tracks, starts, axis=1), np.float64)

    def _decide(self) -> None:
        last = self.interim == self.max_interims
        for pair, decision in self.decisions.items():
            if decision.verdict != "undecided":
                continue
            places = (self.agents.index(pair[0]), self.agents.index(pair[1]))
            still = [state.p_value for key, state in self._open.items() if _joins(key, places)]
            done = [value for key, value in self._p_values.items() if _joins(key, places)]
            verdict: Verdict = "equal" if last else "undecided"
            if not still:
                verdict = "larger" if self._larger[places] else "smaller"
            self.decisions[pair] = Decision(verdict, max([*still, *done]), self.interim)


def _rounded(statistic: Floats) -> Floats:
    largest = statistic.max()
    return np.round(statistic / largest, DIGITS) if largest > 0 else statistic


def _joins(partition: Partition, places: Block) -> bool:
    return any(set(places) <= set(block) for block in partition)


def partitions(count: int) -> list[Partition]:
    """Return every way to take some of ``count`` agents for equal, by its blocks of two or more."""
    found: list[list[Block]] = [[]]
    for place in range(count):
        grown = []
        for blocks in found:
            grown.append([*blocks, (place,)])
            for index, block in enumerate(blocks):
                grown.append([*blocks[:index], (*block, place), *blocks[index + 1 :]])
        found = grown
    kept = (tuple(block for block in blocks if len(block) > 1) for blocks in found)
    return [partition for partition in kept if partition]


def compare_agents(
    scores: Mapping[str, npt.ArrayLike], *, interims: int = 1, **options: Any
) -> SequentialComparison:
    """Replay stored scores as a sequential comparison and return it as it ended.

    Args:
        scores: ``[interims * n]`` scores of each agent in the order of training; ``n`` may differ
            between agents.
        interims: How many looks; 1 makes it a test of a fixed sample.
        **options: ``alpha``, ``permutations`` and ``seed`` of ``SequentialComparison``.

    Raises:
        UserError: An agent's scores cannot be split into that many equal parts, or what
            ``SequentialComparison`` refuses.
    """
    comparison = SequentialComparison(tuple(scores), max_interims=interims, **options)
    parts = {}
    for name, values in scores.items():
        array = np.asarray(values, np.float64)
        if len(array) % interims:
            raise UserError(
                f"{name} has {len(array)} scores, which {interims} interims cannot share"
            )
        parts[name] = np.split(array, interims)
    for interim in range(interims):
        if comparison.active:
            comparison.add({name: parts[name][interim] for name in comparison.active})
    return comparison


def smallest_p_value(first: int, second: int) -> float:
    """Return the smallest p-value that a permutation test of two samples of these sizes can have.

    The two labels may be exchanged when the sizes are equal, which leaves the absolute difference
    as it is; so 3 seeds against 3 reach 2/20 at best.
    """
    return (2 if first == second else 1) / math.comb(first + second, first)
