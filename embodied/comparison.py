"""What a comparison of runs finds: statistics over training seeds, as JSON values and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from embodied.profiles import (
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    stratified_interval,
)
from embodied.sequential import compare_agents, smallest_p_value
from embodied.statistics import iqm

Scores = Mapping[str, npt.NDArray[np.float64]]  # [S] by name, one number per training seed

THRESHOLDS = 101  # of a performance profile
TARGET = {"success": 1.0, "score": 100.0}  # what the optimality gap is measured from
LETTERS = "ABCDEFGH"  # what stands for the rows where their names are too long


def statistics_of(
    per_seed: npt.NDArray[np.float64], interval: npt.NDArray[np.float64], metric: str
) -> dict[str, Any]:
    """Return the statistics of one row.

    Args:
        per_seed: ``[S]`` mean of each training seed's episodes.
        interval: ``[2]`` 95% interval of their mean, which may hold more than the seeds' spread.
        metric: ``success`` and ``score`` have an optimality gap.
    """
    found = {
        "seeds": len(per_seed),
        "mean": float(per_seed.mean()),
        "ci95": interval.tolist(),
        "iqm": iqm(per_seed),
        "iqm_ci95": [float(end) for end in stratified_interval(iqm, per_seed[:, None])],
        "median": float(np.median(per_seed)),
        "per_seed": per_seed.tolist(),
    }
    if metric in TARGET:
        found["optimality_gap"] = optimality_gap(per_seed, TARGET[metric])
    return found


def pairs_of(scores: Scores, alpha: float) -> list[dict[str, Any]]:
    """Return every pair's difference, probability of improvement and the test's decision.

    The test is the sequential one with a single interim, over all pairs at once.
    """
    decisions = compare_agents(scores, alpha=alpha).decisions
    found = []
    for (first, second), decision in decisions.items():
        one, two = scores[first][:, None], scores[second][:, None]
        smallest = smallest_p_value(len(one), len(two))
        verdict: str = decision.verdict
        if smallest > alpha:
            verdict = "too few seeds"
        elif verdict == "equal":
            verdict = "not told apart"
        found.append(
            {
                "first": first,
                "second": second,
                "difference": float(one.mean() - two.mean()),
                "probability_of_improvement": probability_of_improvement(one, two),
                "ci95": [
                    float(end) for end in stratified_interval(probability_of_improvement, one, two)
                ],
                "p_value": decision.p_value,
                "smallest_p_value": smallest,
                "verdict": verdict,
            }
        )
    return found


def profile_of(scores: Scores, metric: str) -> dict[str, Any]:
    """Return each entry's fraction of seeds above a range of thresholds, with 95% intervals."""
    everything = np.concatenate(list(scores.values()))
    low, high = (0.0, 1.0) if metric == "success" else (everything.min(), everything.max())
    margin = 0.0 if metric == "success" else 0.05 * (high - low)
    thresholds = np.linspace(low - margin, high + margin, THRESHOLDS)
    rows = {}
    for name, values in scores.items():
        ends = stratified_interval(lambda x: performance_profile(x, thresholds), values[:, None])
        rows[name] = {
            "fraction": performance_profile(values, thresholds).tolist(),
            "low": ends[0].tolist(),
            "high": ends[1].tolist(),
        }
    return {"thresholds": thresholds.tolist(), "rows": rows}


def table(result: Mapping[str, Any]) -> str:
    """Return the comparison as text."""
    rows, metric = result["rows"], result["metric"]
    width = max(26, *(len(name) + 4 for name in rows))
    lines = [
        f"{result['task']}, {metric}",
        f"{'':{width}}{'seeds':>5}{'mean':>10}  {'95 % interval':19}{'IQM':>9}  "
        f"{'95 % interval':19}{'median':>9}  per seed",
    ]
    for letter, (name, row) in zip(LETTERS, rows.items(), strict=False):
        seeds = " ".join(f"{value:.2f}" for value in row["per_seed"])
        lines.append(
            f"{f'{letter}  {name}':{width}}{row['seeds']:5}{row['mean']:10.2f}  "
            f"{_interval(row['ci95']):19}{row['iqm']:9.2f}  {_interval(row['iqm_ci95']):19}"
            f"{row['median']:9.2f}  {seeds}"
        )
    letters = letters_of(result)
    lines.append("")
    for pair in result["pairs"]:
        first, second = letters[pair["first"]], letters[pair["second"]]
        lines.append(
            f"{first} over {second}: difference {pair['difference']:+.2f}, probability of "
            f"improvement {pair['probability_of_improvement']:.2f} ({_interval(pair['ci95'])}), "
            f"{decision(pair, letters, result)}"
        )
    lines += [f"- {note}" for note in result["notes"]]
    return "\n".join(lines)


def letters_of(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the letter that stands for each row."""
    return dict(zip(result["rows"], LETTERS, strict=False))


def _interval(ends: Sequence[float]) -> str:
    return f"{ends[0]:.2f} to {ends[1]:.2f}"


def decision(pair: Mapping[str, Any], letters: Mapping[str, str], result: Mapping[str, Any]) -> str:
    """Return what the test says about a pair, as a clause."""
    first, second = letters[pair["first"]], letters[pair["second"]]
    sizes = [result["rows"][pair[key]]["seeds"] for key in ("first", "second")]
    p_value, alpha = f"p = {pair['p_value']:.2g}", f"{result['alpha']:g}"
    if pair["verdict"] == "too few seeds":
        return (
            f"{p_value}: {sizes[0]} against {sizes[1]} seeds cannot decide at {alpha} (the "
            f"smallest possible p is {pair['smallest_p_value']:.2g})"
        )
    if pair["verdict"] == "not told apart":
        return f"{p_value}: not told apart at {alpha}, which does not make them equal"
    better, worse = (first, second) if pair["verdict"] == "larger" else (second, first)
    return f"{p_value}: {better} is better than {worse} at {alpha}"
