"""Whether successful episodes score above failed ones.

Source: Sun et al. 2024, "A Large Language Model-Driven Reward Code Design Framework via Dynamic
Feedback" (CARD), trajectory preference evaluation: the share of successful trajectories whose mean
reward per step is above that of the best failed one. Unlike there, the test is undecided and not
passed where only one kind of trajectory exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embodied.types import Array, BoolArray, FloatArray
from rewards.gate.correlation import agreement_with


@dataclass(frozen=True)
class Outcomes:
    """What became of episodes ``[E]`` and what a reward gave for them.

    Attributes:
        mean: float64 [E], mean reward per step.
        success: bool [E], whether the last step is a success.
        failure: bool [E], whether no step is a success. An episode that succeeded on its way and
            not at its end is neither: a reward may rightly like most of it.
    """

    mean: FloatArray
    success: BoolArray
    failure: BoolArray


def outcomes(total: FloatArray, success: BoolArray, episode: Array) -> Outcomes:
    """Gather transitions into episodes.

    Args:
        total: [N], the reward of each transition.
        success: bool [N], whether ``s_{t+1}`` is a success.
        episode: int [N], which episode a transition belongs to; those of one in order of time.
    """
    _, inverse = np.unique(episode, return_inverse=True)
    steps = np.bincount(inverse)
    last = np.zeros(len(steps), np.int64)
    np.maximum.at(last, inverse, np.arange(len(inverse)))
    return Outcomes(
        mean=np.bincount(inverse, weights=total).astype(np.float64) / steps,
        success=success[last],
        failure=np.bincount(inverse, weights=success) == 0,
    )


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """Return the outcomes of all parts as one."""
    mean, success, failure = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("mean", "success", "failure")
    )
    return Outcomes(mean, success, failure)


def share_above_failures(found: Outcomes) -> float | None:
    """Return the share of successes above the best failure; None unless both kinds exist."""
    if not found.success.any() or not found.failure.any():
        return None
    best_failure = found.mean[found.failure].max()
    return float(np.mean(found.mean[found.success] > best_failure))


def agreement_of(found: Outcomes) -> float | None:
    """Return the share of pairs in which the success is above the failure; None without both."""
    clear = found.success | found.failure
    measured = agreement_with(found.mean[clear], found.success[clear])
    return None if measured is None else measured["pair_accuracy"]
