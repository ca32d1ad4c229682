"""Whether a reward can be used at all, and numbers that describe it.

The checks find rewards that cannot work; they do not find rewards that teach the wrong thing. For
that there is the gate (``rewards.gate``), which compares a reward with the task's success.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from embodied.errors import UserError
from embodied.types import Array, FloatArray, Reward, Score, Transitions
from rewards.gate.correlation import agreement_with
from rewards.gate.ordering import outcomes
from rewards.gate.terms import explained, saturation

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
            the batch's column ``episode`` unless given. Then mean rewards per step are compared
            with whether the episode ended in success, too.

    Returns:
        ``scale`` (of the total), ``terms`` (per term: mean, standard deviation, share of the
        summed magnitudes, share of the total's variance that it explains), ``unexplained`` (largest
        difference of the total from the sum of the terms), ``saturation`` (share of transitions at
        the largest and at the smallest total) and ``agreement`` with success, per transition and
        per episode; ``null`` where only one of success and failure occurs.
    """
    total, terms = scored(reward, batch)
    agreement: dict[str, Any] = {"transitions": None, "episodes": None}
    episode = batch.columns.get("episode") if episode is None else episode
    if success is not None:
        succeeded = to_numpy(success).astype(bool)
        agreement["transitions"] = agreement_with(total, succeeded)
        if episode is not None:
            found = outcomes(total, succeeded, to_numpy(episode))
            agreement["episodes"] = agreement_with(found.mean, found.success)
    deciding = explained(total, terms)
    return {
        "transitions": len(batch),
        "scale": {**_moments(total), "min": float(total.min()), "max": float(total.max())},
        "terms": {
            name: {**numbers, "explained": deciding[name]}
            for name, numbers in _shares(terms).items()
        },
        "unexplained": float(np.abs(total - sum(terms.values())).max()),
        "saturation": saturation(total),
        "agreement": agreement,
    }


def scored(reward: Reward, batch: Transitions) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Return the total and the terms of a batch, float64 ``[N]`` each, as NumPy arrays."""
    score = reward.score(batch)
    terms = {name: to_numpy(values).astype(np.float64) for name, values in score.terms.items()}
    return to_numpy(score.total).astype(np.float64), terms


def _moments(values: FloatArray) -> dict[str, float]:
    return {"mean": float(values.mean()), "std": float(values.std())}


def _shares(terms: Mapping[str, FloatArray]) -> dict[str, dict[str, float]]:
    sizes = {name: float(np.abs(values).mean()) for name, values in terms.items()}
    whole = sum(sizes.values()) or 1.0
    return {
        name: {**_moments(values), "share": sizes[name] / whole} for name, values in terms.items()
    }


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
