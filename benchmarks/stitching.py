"""Stitching: from A to C with data that hold ways from A to B, from B to C and from B to D alone.

    python -m benchmarks.stitching [--steps 15000] [--seeds 5] [--out FILE]

No episode of the data goes from A to C (``benchmarks.pointmass``). Whoever imitates the data comes
to B and there goes on as the data mostly do, to D. Implicit Q-learning has to carry the value of C
back through B into episodes that never saw C. Its hyper-parameters are those of its authors for
antmaze (arXiv 2110.06169, appendix B), but for networks half as wide. The room, the data and the
number of updates were settled on other seeds than those that are reported.

Every arm has the same network, minibatches, number of updates and starts, and its last policy
counts. Every training seed has a dataset of its own. Controls: behaviour cloning; IQL with the
expectile 0.5, whose values are those of the behaviour; IQL with a reward of 0 everywhere. BC is
evaluated by its mean action, and by sampled actions too, so that its failure cannot be one of
averaging two ways.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import pointmass
from benchmarks.common import machine, write_result
from benchmarks.learning import train
from benchmarks.pointmass import (
    HIGH,
    LEFT_CORNER,
    LOW,
    RIGHT_CORNER,
    A,
    B,
    C,
    D,
    Data,
    FloatArray,
)
from embodied.statistics import summary
from policies.bc import BCConfig
from policies.iql import IQLConfig
from policies.package import PackagedPolicy

TO_B, TO_C, TO_D = 800, 160, 640  # episodes from A to B, from B to C, from B to D
ENDS = {"A to B": B, "B to C": C, "B to D": D}
STAY = 25  # steps of an episode to D, most of which it is there
NOISE = 0.5  # standard deviation of what the controllers add to their actions
HIDDEN = (128, 128)
ANTMAZE = IQLConfig(hidden=HIDDEN, expectile=0.9, temperature=10.0)
MEAN = replace(ANTMAZE, expectile=0.5)
CLONE = BCConfig(hidden=HIDDEN)
DATA_SEED, START_SEED = 5_000, 2_000
WANTED = {"iql": 0.8, "bc": 0.3}  # at least, at most


def drive(
    start: FloatArray, way: Sequence[FloatArray], rng: np.random.Generator, *, stay: bool = False
) -> pointmass.Episodes:
    """Return episodes of noisy controllers until they come to the end of a way, or stay there."""
    act = pointmass.controller(np.repeat(np.stack(way)[None], len(start), 0), NOISE, rng)
    if stay:
        return pointmass.roll(act, start, None, STAY)
    return pointmass.roll(act, start, way[-1])


def collect(seed: int, shrink: int = 1) -> tuple[Data, dict[str, Any]]:
    """Return one dataset and what it holds; ``shrink`` divides the number of its episodes.

    Ways from B begin as ways to B end, in place and speed, those of other episodes: whoever comes
    to B then finds there what the data do, in the shares in which they do it. Ways to D stay there,
    so that an imitator that came to D does too instead of leaving the data.
    """
    rng = np.random.default_rng(DATA_SEED + seed)
    to_c, to_d = TO_C // shrink, TO_D // shrink
    arriving = drive(pointmass.starts(A, TO_B // shrink, rng), [LEFT_CORNER, B], rng)
    ends = drive(pointmass.starts(A, to_c + to_d, rng), [LEFT_CORNER, B], rng).last()
    legs = {
        "A to B": arriving,
        "B to C": drive(ends[:to_c], [RIGHT_CORNER, C], rng),
        "B to D": drive(ends[to_c:], [D], rng, stay=True),
    }
    data = pointmass.as_data([(item, name == "B to C") for name, item in legs.items()])
    told: dict[str, Any] = {
        name: {
            "episodes": len(item.length),
            "came_to_their_end": float(item.touched(ENDS[name]).mean()),
            "touched_both_a_and_c": int((item.touched(A) & item.touched(C)).sum()),
        }
        for name, item in legs.items()
    }
    return data, {"transitions": len(data.source), **told}


def success(
    policies: Sequence[PackagedPolicy], episodes: int, *, sampled: bool
) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    """Return whether each episode from A came to C, one array per policy, all from one set."""
    start = pointmass.starts(A, episodes, np.random.default_rng(START_SEED))
    return [
        pointmass.roll(
            lambda state, policy=policy: policy.predict(state, deterministic=not sampled)[0],
            start,
            C,
        ).reached.astype(np.float64)
        for policy in policies
    ]


def measure(seeds: Sequence[int], steps: int, episodes: int, shrink: int = 1) -> dict[str, Any]:
    """Train and evaluate every arm; return the result."""
    collected = [collect(seed, shrink) for seed in seeds]
    sources = [data.source for data, _ in collected]
    rewards = [data.reward for data, _ in collected]
    nothing = [np.zeros_like(reward) for reward in rewards]
    arms: Mapping[str, tuple[Any, Any]] = {
        "iql": (ANTMAZE, rewards),
        "iql_expectile_0.5": (MEAN, rewards),
        "iql_constant_reward": (ANTMAZE, nothing),
        "bc": (CLONE, rewards),
    }
    table = {}
    for name, (config, reward) in arms.items():
        policies = train(config, sources, reward, (LOW, HIGH), seeds, steps)
        table[name] = {
            "success": summary(success(policies, episodes, sampled=False)),
            "success_of_sampled_actions": summary(success(policies, episodes, sampled=True)),
        }
        mean, drawn = (table[name][key]["mean"] for key in table[name])
        low, high = table[name]["success"]["ci95"]
        print(f"{name:20} {mean:.2f} [{low:.2f}, {high:.2f}], sampled actions {drawn:.2f}")
    return {"data": [told for _, told in collected], "arms": table}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=15_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=100, help="per policy")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/stitching.json"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    about = machine(("torch", "numpy"))
    result = measure(range(options.seeds), options.steps, options.episodes)
    reached = {name: result["arms"][name]["success"]["mean"] for name in WANTED}
    settings = {
        "steps": options.steps,
        "seeds": options.seeds,
        "evaluation_episodes": options.episodes,
        "iql": vars(ANTMAZE),
        "noise_of_the_controllers": NOISE,
        "wanted": {"iql at least": WANTED["iql"], "bc at most": WANTED["bc"]},
        "shown": reached["iql"] >= WANTED["iql"] and reached["bc"] <= WANTED["bc"],
    }
    write_result(options.out, "stitching", about, settings | result)


if __name__ == "__main__":
    main()
