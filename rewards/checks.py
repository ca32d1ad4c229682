"""The gate that a reward passes before it is used, and numbers that tell whether it is any good.

The checks find rewards that cannot work; they do not find rewards that teach the wrong thing. For
that there are the diagnostics, which compare a reward with the sparse success where it is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from embodied.errors import UserError
from embodied.types import Array, BoolArray, FloatArray, Reward, Score, Transitions

MAX_MAGNITUDE = 1e4  # of a reward; value functions of larger ones train badly
MIN_SPREAD = 1e-6  # relative to the magnitude; below it a reward says nothing


def check(reward: Reward, sample: Transitions) -> None:
    """Raise UserError with all failures of a reward on sampled transitions."""
    found = failures(reward, sample)
    if found:
        raise UserError("the reward failed its checks: " + "; ".join(found))


def failures(reward: Reward, sample: Transitions) -> list[str]:
    """Return a sentence for each check that a reward fails on sampled transitions ``[N]``."""
    rows = len(sample)
    if rows < 2:
        raise UserError(f"a reward is checked on at least 2 transitions, not on {rows}")
    try:
        score, again = reward.score(sample), reward.score(sample)
        single = reward.score(select(sample, slice(0, 1)))
    except UserError as error:
        return [str(error)]
    named = {"the total": score.total, **_named(score)}
    problems = [
        f"{name} has shape {list(values.shape)} and must have [{rows}]"
        for name, values in named.items()
        if tuple(values.shape) != (rows,)
    ]
    if problems:
        return problems
    arrays = {name: to_numpy(values) for name, values in named.items()}
    for name, values in arrays.items():
        bad = int(np.count_nonzero(~np.isfinite(values)))
        if bad:
            problems.append(f"{name} is infinite or not a number in {bad} of {rows} transitions")
    if problems:
        return problems
    total = arrays["the total"]
    problems += [
        f"{name} differs between two calls on the same transitions"
        for name, values in {"the total": again.total, **_named(again)}.items()
        if not np.array_equal(to_numpy(values), arrays.get(name, total + 1))
    ]
    first = to_numpy(single.total)
    if first.shape != (1,) or not np.allclose(first, total[:1], rtol=1e-4, atol=1e-5):
        problems.append("the first transition scores differently alone and inside the batch")
    return problems + _range_problems(total)


def _range_problems(total: FloatArray) -> list[str]:
    largest = float(np.abs(total).max())
    spread = float(total.max() - total.min())
    problems = []
    if spread <= MIN_SPREAD * max(1.0, largest):
        problems.append(
            f"the total is the same ({total[0]:.4g}) for all {len(total)} sampled transitions, so "
            "it prefers nothing; make it change with the progress of the task"
        )
    if largest > MAX_MAGNITUDE:
        problems.append(
            f"the total reaches {largest:.4g} in magnitude; scale it to stay within "
            f"{MAX_MAGNITUDE:g}, ideally within 10 per step"
        )
    return problems


def diagnostics(
    reward: Reward,
    batch: Transitions,
    success: Array | None = None,
    episode: Array | None = None,
) -> dict[str, Any]:
    """Describe a reward on a batch, as JSON values.

    Args:
        reward: What is described.
        batch: Transitions ``[N]``.
        success: Bool ``[N]``, whether ``s_{t+1}`` is a success, where it is known.
        episode: Int ``[N]``, which episode a transition belongs to, where whole episodes are given;
            then returns are compared with whether the episode ever succeeded, too.

    Returns:
        ``scale`` (of the total), ``terms`` (per term: mean, standard deviation, share of the
        summed magnitudes), ``unexplained`` (largest difference of the total from the sum of the
        terms), ``saturation`` (share of transitions at the largest and at the smallest total) and
        ``agreement`` with success, per transition and per episode; ``null`` where only one of
        success and failure occurs.
    """
    score = reward.score(batch)
    total = to_numpy(score.total).astype(np.float64)
    terms = {name: to_numpy(values).astype(np.float64) for name, values in score.terms.items()}
    agreement: dict[str, Any] = {"transitions": None, "episodes": None}
    if success is not None:
        succeeded = to_numpy(success).astype(bool)
        agreement["transitions"] = agreement_with(total, succeeded)
        if episode is not None:
            _, inverse = np.unique(to_numpy(episode), return_inverse=True)
            returns = np.bincount(inverse, weights=total).astype(np.float64)
            ever = np.bincount(inverse, weights=succeeded) > 0
            agreement["episodes"] = agreement_with(returns, ever)
    return {
        "transitions": len(batch),
        "scale": {**_moments(total), "min": float(total.min()), "max": float(total.max())},
        "terms": _shares(terms),
        "unexplained": float(np.abs(total - sum(terms.values())).max()),
        "saturation": {
            "at_max": float(np.mean(total == total.max())),
            "at_min": float(np.mean(total == total.min())),
        },
        "agreement": agreement,
    }


def _moments(values: FloatArray) -> dict[str, float]:
    return {"mean": float(values.mean()), "std": float(values.std())}


def _shares(terms: Mapping[str, FloatArray]) -> dict[str, dict[str, float]]:
    sizes = {name: float(np.abs(values).mean()) for name, values in terms.items()}
    whole = sum(sizes.values()) or 1.0
    return {
        name: {**_moments(values), "share": sizes[name] / whole} for name, values in terms.items()
    }


def agreement_with(values: FloatArray, success: BoolArray) -> dict[str, float] | None:
    """Compare numbers ``[K]`` with success ``[K]``; None unless both outcomes occur.

    Returns:
        ``spearman``, the rank correlation (ties share their mean rank; Spearman 1904), and
        ``pair_accuracy``, how often a success has the larger number than a failure (ties count
        half; the Mann-Whitney statistic over the number of pairs).
    """
    positives = int(success.sum())
    negatives = len(success) - positives
    if not positives or not negatives:
        return None
    ranks = mean_ranks(values)
    pairs = ranks[success].sum() - positives * (positives + 1) / 2
    spread = ranks.std() * success.std()
    covariance = ((ranks - ranks.mean()) * (success - success.mean())).mean()
    return {
        "spearman": float(covariance / spread) if spread > 0 else 0.0,
        "pair_accuracy": float(pairs / (positives * negatives)),
    }


def mean_ranks(values: FloatArray) -> FloatArray:
    """Return the ranks 1..K of numbers ``[K]``; equal numbers share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)


def select(batch: Transitions, rows: slice | Array) -> Transitions:
    """Return some transitions of a batch, with every column."""

    def pick(columns: Mapping[str, Array]) -> dict[str, Array]:
        return {name: column[rows] for name, column in columns.items()}

    return Transitions(
        observation=batch.observation[rows],
        action=batch.action[rows],
        next_observation=batch.next_observation[rows],
        terminated=batch.terminated[rows],
        truncated=batch.truncated[rows],
        state=pick(batch.state),
        next_state=pick(batch.next_state),
        columns=pick(batch.columns),
        reward=None if batch.reward is None else batch.reward[rows],
    )


def to_numpy(array: Array) -> Any:
    """Return a NumPy array of an array or of a tensor on any device."""
    return array.detach().cpu().numpy() if hasattr(array, "detach") else np.asarray(array)


def _named(score: Score) -> dict[str, Array]:
    return {f"the term {name!r}": values for name, values in score.terms.items()}
