"""How far two rewards are apart in what they make a policy do: EPIC and STARC.

Both bring a reward into a canonical form, which shaping by a potential (Ng et al. 1999) leaves as
it is, and compare the forms regardless of scale: 0 for rewards that order policies alike, 1 for
opposite ones, about 0.7 for unrelated ones.
"""

from __future__ import annotations

import numpy as np

from embodied.types import FloatArray, Reward, Transitions
from rewards.checks import select, to_numpy
from rewards.gate.counterfactual import States, after, before, joined

DISCOUNT = 0.99
MIN_SPREAD = 1e-6  # of a canonical form, relative to its reward: below it lies rounding alone


def epic_form(reward: Reward, batch: Transitions, rows: int = 256, seed: int = 0) -> FloatArray:
    """Return a reward's canonically shaped form on sampled transitions, float64 ``[rows]``.

    Source: Gleave et al. 2021, "Quantifying Differences in Reward Functions" (arXiv 2006.13900),
    definition 4.1: ``R(s,a,s') + E[g R(s',A,S') - R(s,A,S') - g R(S,A,S')]``. The coverage
    distribution is that of the batch; actions and next states are drawn from it apart, the same
    ones for every transition, so that potentials cancel exactly. The last expectation is one
    number for all transitions and left out, since the distance ignores it.

    Args:
        reward: Reads state, action and next state alone.
        batch: Transitions ``[N]``.
        rows: Transitions that are compared, and as many actions and next states for each
            expectation; at most N.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    count = min(rows, len(batch))
    chosen, drawn, acted = (rng.permutation(len(batch))[:count] for _ in range(3))
    each, other = np.repeat(np.arange(count), count), np.tile(np.arange(count), count)
    actions, ends = batch.action[acted[other]], after(batch).take(drawn[other])

    def expected(states: States) -> FloatArray:
        """Return ``E[R(s,A,S')]`` for the chosen rows of ``states``."""
        made = joined(states.take(chosen[each]), actions, ends)
        totals = _total(reward, made).reshape(count, count)
        return np.asarray(totals.mean(axis=1), np.float64)

    taken = _total(reward, select(batch, chosen))
    form = taken + DISCOUNT * expected(after(batch)) - expected(before(batch))
    return _significant(form - form.mean(), taken)


def epic_distance(first: FloatArray, second: FloatArray) -> float:
    """Return the Pearson distance of two canonical forms ``[M]``: ``sqrt((1 - rho) / 2)``.

    Source: Gleave et al. 2021, definition 4.5. A constant form is related to nothing (rho = 0).
    """
    a, b = first - first.mean(), second - second.mean()
    return float(np.sqrt((1 - _cosine(a, b)) / 2))


def starc_form(reward: Reward, batch: Transitions) -> FloatArray:
    """Return a reward's value-adjusted levelling on the transitions of a batch, float64 ``[N]``.

    Source: Skalse et al. 2024, "STARC: A General Framework For Quantifying Differences Between
    Reward Functions" (arXiv 2309.15257): ``R(s,a,s') - V(s) + g V(s')`` with the value ``V`` of a
    fixed policy. The value that samples give without an error of estimation is that of standing
    still for ever, ``V(s) = R(s,0,s) / (1 - g)``. In the paper ``V`` follows the environment's own
    dynamics; what is needed of it, that shaping by a potential ``P`` changes it by ``-P(s)``, holds
    here too. The expectation over next states is left out, since state and action determine the
    next state in the simulated tasks. The paper's minimal canonical form would be zero on sampled
    trajectories, which never meet in a state.
    """
    rest = np.zeros_like(to_numpy(batch.action))
    value = [
        _total(reward, joined(states, rest, states)) / (1 - DISCOUNT)
        for states in (before(batch), after(batch))
    ]
    taken = _total(reward, batch)
    return _significant(taken - value[0] + DISCOUNT * value[1], taken / (1 - DISCOUNT))


def starc_distance(first: FloatArray, second: FloatArray) -> float:
    """Return half the distance of two canonical forms ``[N]`` that are scaled to length 1.

    Source: Skalse et al. 2024, with the Euclidean norm over sampled transitions as norm and as
    metric; a form that is zero stays zero. Halved, so that opposite rewards are 1 apart.
    """
    lengths = [float(np.linalg.norm(form)) for form in (first, second)]
    a, b = (
        form / length if length > 0 else form
        for form, length in zip((first, second), lengths, strict=True)
    )
    return float(np.linalg.norm(a - b) / 2)


def _cosine(a: FloatArray, b: FloatArray) -> float:
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return min(1.0, max(-1.0, float(np.sum(a * b)) / size)) if size > 0 else 0.0


def _significant(form: FloatArray, scale: FloatArray) -> FloatArray:
    """Return zeros where a form is the rounding of the numbers that it was computed from."""
    largest = float(np.abs(form).max())
    return form if largest > MIN_SPREAD * float(np.abs(scale).max()) else np.zeros_like(form)


def _total(reward: Reward, batch: Transitions) -> FloatArray:
    return np.asarray(to_numpy(reward.score(batch).total), np.float64)
