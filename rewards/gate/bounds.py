"""The bounds that the measures are held to, and what is said of a reward on either side of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from embodied.types import BoolArray, FloatArray
from rewards.gate.correlation import agreement_with
from rewards.gate.exploit import Found
from rewards.gate.ordering import Outcomes, agreement_of, share_above_failures
from rewards.gate.verdict import Verdict, undecided

ORDERED = 0.8  # share of successes above the best failure, CARD's bound
IN_ORDER = 0.9  # share of pairs in order from which a low share above the best failure only warns
CHANCE = 0.5  # pair accuracy of a reward that has nothing to do with success
LEVEL = 0.05  # probability below which few episodes do not miss a bound by chance
DEVIATIONS = 2.0  # standard deviations that a pair accuracy may be off by chance
UNRELATED = 0.7  # distance of rewards that have nothing to do with each other (the root of 1/2)
OPPOSED = 0.9  # distance beyond which a reward works against the reference (a correlation of -0.6)
STILL = 0.9  # share of the transitions in which the total may be at an end of its range
DOMINANT = 0.95  # share of the variance; the other terms then move the total by a fifth of its std


def edges(found: Sequence[str], tried: int) -> Verdict:
    """Judge at how many edges a reward is not finite."""
    if not found:
        return Verdict("pass", 0.0, 0.0, f"finite at all {tried} edges that were tried")
    shown = "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
    return Verdict(
        "fail",
        float(len(found)),
        0.0,
        f"the reward is infinite or not a number where {shown}; guard divisions, logarithms and "
        "square roots, for example np.maximum(x, 1e-6)",
        {"edges": list(found)},
    )


def ordering(found: Outcomes | None) -> Verdict:
    """Judge CARD's share of successes above the best failure.

    The best failure is the extreme of many: a near miss, or a lucky start. Where nearly all pairs
    of a success and a failure are in order nevertheless, a low share warns. Rewards as plain as
    minus the distance, which teach their task, are such.
    """
    if found is None:
        return undecided("the sample does not hold whole episodes with their success", ORDERED)
    successes, failures = int(found.success.sum()), int(found.failure.sum())
    share, pairs = share_above_failures(found), agreement_of(found)
    if share is None or pairs is None:
        return undecided(
            f"of {len(found.mean)} episodes {successes} succeeded and {failures} failed; both "
            "kinds are needed to compare them",
            ORDERED,
        )
    details = {"successes": successes, "failures": failures, "pair_accuracy": pairs}
    told = (
        f"{share:.0%} of {successes} successful episodes have a larger mean reward per step than "
        f"the best of {failures} failed ones"
    )
    if share >= ORDERED:
        return Verdict("pass", share, ORDERED, told, details)
    told += (
        f", where {ORDERED:.0%} should, and {pairs:.0%} of all pairs are in order; pay more for "
        "what only success brings"
    )
    above = round(share * successes)
    refused = pairs < IN_ORDER and _at_most(above, successes, ORDERED) < LEVEL
    return Verdict("fail" if refused else "warn", share, ORDERED, told, details)


def _at_most(count: int, trials: int, rate: float) -> float:
    """Return the binomial probability of at most ``count`` of ``trials``."""
    return sum(
        math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(count + 1)
    )


def correlation(total: FloatArray, success: BoolArray | None, found: Outcomes | None) -> Verdict:
    """Judge how often a success has the larger reward: pair accuracy, beside Spearman's rank.

    Episodes decide, since within one the reward may rightly end when success begins (that of a
    jump pays in the air and success is told on the ground). Where only transitions are known, they
    warn at most: they are many and not independent.
    """
    if success is None:
        return undecided("the sample does not tell which transitions are a success", CHANCE)
    details = {
        "transitions": agreement_with(total, success),
        "episodes": None if found is None else agreement_with(found.mean, found.success),
    }
    measured = details["episodes"] or details["transitions"]
    if measured is None:
        return undecided("the sample holds successes alone or failures alone", CHANCE)
    kind, flags = ("transition", success)
    if details["episodes"] is not None and found is not None:
        kind, flags = ("episode", found.success)
    accuracy = measured["pair_accuracy"]
    margin = DEVIATIONS * _deviation(int(flags.sum()), int((~flags).sum()))
    told = (
        f"a successful {kind} scores above a failed one in {accuracy:.0%} of all pairs "
        f"(rank correlation {measured['spearman']:.2f})"
    )
    if accuracy > CHANCE + margin:
        return Verdict("pass", accuracy, CHANCE, told, details)
    if accuracy < CHANCE - margin and kind == "episode":
        told += "; the reward prefers failure, so check its signs and what it measures"
        return Verdict("fail", accuracy, CHANCE, told, details)
    told += "; that is not better than chance, so tie the reward more closely to the outcome"
    return Verdict("warn", accuracy, CHANCE, told, details)


def _deviation(successes: int, failures: int) -> float:
    """Return the standard deviation of the pair accuracy by chance (Mann and Whitney 1947)."""
    return math.sqrt((successes + failures + 1) / (12 * successes * failures))


def distance(name: str, value: float) -> Verdict:
    """Judge the distance from the reference reward."""
    told = f"the {name} distance from the reference reward is {value:.2f} (0 same, 1 opposite)"
    if value <= UNRELATED:
        return Verdict("pass", value, UNRELATED, told)
    if value <= OPPOSED:
        told += "; they have little to do with each other"
        return Verdict("warn", value, UNRELATED, told)
    told += "; it works against it, so check the signs of the total and of its terms"
    return Verdict("fail", value, OPPOSED, told)


def saturation(found: Mapping[str, Mapping[str, float]]) -> Verdict:
    """Judge how much of the total (named "") and of each term stands at an end of its range.

    A bonus is rightly at its ends all the time, so a term is only told of where it never changes.
    """
    details = {"terms": {name: dict(ends) for name, ends in found.items() if name}}
    still = [name for name, ends in found.items() if name and min(ends.values()) == 1.0]
    value = found[""]["at_either"]
    told = f"the total is at its largest or smallest value in {value:.0%} of the transitions"
    if value > STILL:
        told += "; it tells little of progress there, so let it saturate later"
        return Verdict("warn", value, STILL, told, details)
    if still:
        told += f"; never changing: {', '.join(still)}"
        return Verdict("warn", value, STILL, told, details)
    return Verdict("pass", value, STILL, told, details)


def dominance(found: Mapping[str, float]) -> Verdict:
    """Judge the largest share of the total's variance that one term explains."""
    if len(found) < 2:
        return undecided("the reward has a single term", DOMINANT)
    name = max(found, key=lambda item: abs(found[item]))
    value = found[name]
    told = f"the term {name!r} explains {value:.0%} of the total's variance"
    if abs(value) <= DOMINANT:
        return Verdict("pass", value, DOMINANT, told)
    told += "; the other terms hardly count, so scale them alike"
    return Verdict("warn", value, DOMINANT, told)


def exploit(found: Found | None, known: Outcomes | None) -> Verdict:
    """Judge the best failure that acting found against the successes, those of the sample too.

    A failure above every success is an exploit; one above half of them is a warning, and so is one
    above all of so few that a reward could have put them below by chance.
    """
    if found is None:
        return undecided("the environment does not tell success")
    successes = np.array(found.successes)
    if known is not None:
        successes = np.concatenate([successes, known.mean[known.success]])
    if not len(successes):
        return undecided(
            f"neither the sample nor {found.episodes} searched episodes hold a success to compare "
            "with"
        )
    best, middle = float(successes.max()), float(np.median(successes))
    if found.best_failure is None:
        return Verdict("pass", None, middle, f"all {found.episodes} searched episodes succeeded")
    told = (
        f"the best of {found.episodes} searched episodes that failed has a mean reward per step of "
        f"{found.best_failure:.3g}; successful ones have {middle:.3g} (median) to {best:.3g}"
    )
    details = {"best_success": best, "median_success": middle, "successes": len(successes)}
    if found.best_failure > best:
        told += "; failing pays more than succeeding, so find what it is paid for"
        few = CHANCE ** len(successes) > LEVEL
        return Verdict("warn" if few else "fail", found.best_failure, best, told, details)
    if found.best_failure > middle:
        told += "; failing pays nearly as much as succeeding, so pay more for success"
        return Verdict("warn", found.best_failure, middle, told, details)
    return Verdict("pass", found.best_failure, middle, told, details)
