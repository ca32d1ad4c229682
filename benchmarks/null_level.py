"""How often the sequential comparison decides wrongly, and how soon it decides rightly.

    python -m benchmarks.null_level [--repetitions 2000] [--out ...]

Scores are independent standard normal numbers, five training seeds per interim. Where no agents
differ, any decision is a false one; where some do, a decision about two that are equal is. Each
rate has to stay below the level plus two standard errors of the simulation.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import machine, write_result
from embodied.sequential import compare_agents

ALPHA, SEEDS, PERMUTATIONS = 0.05, 5, 999
# Each agent's true mean in standard deviations, and the number of interims.
CASES: dict[str, tuple[tuple[float, ...], int]] = {
    "2 equal agents, 1 interim": ((0.0, 0.0), 1),
    "3 equal agents, 1 interim": ((0.0, 0.0, 0.0), 1),
    "2 equal agents, 5 interims": ((0.0, 0.0), 5),
    "3 equal agents, 5 interims": ((0.0, 0.0, 0.0), 5),
    "2 equal agents and one 3 higher, 5 interims": ((0.0, 0.0, 3.0), 5),
    "2 agents, one 1 higher, 1 interim": ((0.0, 1.0), 1),
    "2 agents, one 1 higher, 5 interims": ((0.0, 1.0), 5),
}


def simulate(means: Sequence[float], interims: int, repetitions: int) -> dict[str, Any]:
    """Return the rates of false and of right decisions and the mean number of interims used."""
    rng = np.random.default_rng(0)
    truth = {str(place): mean for place, mean in enumerate(means)}
    false = right = differing = looks = 0
    for number in range(repetitions):
        scores = {name: rng.normal(mean, 1.0, SEEDS * interims) for name, mean in truth.items()}
        comparison = compare_agents(
            scores, interims=interims, alpha=ALPHA, permutations=PERMUTATIONS, seed=number
        )
        wrong = False
        for (first, second), decision in comparison.decisions.items():
            gap = truth[first] - truth[second]
            true_verdict = "larger" if gap > 0 else "smaller" if gap < 0 else "equal"
            wrong |= decision.verdict not in (true_verdict, "equal")
            differing += gap != 0
            right += gap != 0 and decision.verdict == true_verdict
        false += wrong
        looks += comparison.interim
    return {
        "false_rate": false / repetitions,
        "power": right / differing if differing else None,
        "mean_interims": looks / repetitions,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/null_level.json"))
    options = parser.parse_args()
    about, begin = machine(("numpy",)), time.monotonic()
    limit = ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / options.repetitions)
    rows = {}
    for name, (means, interims) in CASES.items():
        rows[name] = simulate(means, interims, options.repetitions)
        power = rows[name]["power"]
        told = "" if power is None else f", right about {power:.1%} of the differing pairs"
        print(
            f"{name}: false decisions in {rows[name]['false_rate']:.2%} (limit {limit:.2%}){told}, "
            f"{rows[name]['mean_interims']:.2f} interims"
        )
    settings = {"alpha": ALPHA, "seeds_per_interim": SEEDS, "permutations": PERMUTATIONS}
    result = {
        **settings,
        "repetitions": options.repetitions,
        "limit": limit,
        "rows": rows,
        "seconds": round(time.monotonic() - begin, 1),
    }
    write_result(options.out, "null_level", about, result)


if __name__ == "__main__":
    main()
