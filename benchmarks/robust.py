"""Robust IQL beside IQL when the dynamics of 30 % of the data are corrupted, and when none are.

    python -m benchmarks.robust [--data FOLDER] [--steps N] [--seeds 5] [--out FILE]
                                [--given QUANTILE SIGMA]

The task is the room of ``benchmarks.pointmass``, on replay-like data from noisy controllers to good
ones, or, with ``--data``, HalfCheetah on the replay data of ``benchmarks.halfcheetah``. Corruption
is the paper's random one (Yang et al. 2024, arXiv 2310.12955): the next observations of a share of
the transitions get uniform noise of up to one standard deviation (``embodied.transforms``).
Policies are evaluated without corruption.

Robust IQL has two settings to choose, the quantile of its critics and the scale of its Huber loss;
the paper chooses them per task and kind of corruption. That is done here first, at 30 %, on seeds
of its own, every figure kept; ``--given`` takes a pair that a pilot on such seeds settled instead.
IQL's own settings are not searched. The pair is then reported on fresh seeds, at 0 % too. Both
algorithms share everything else, and BC is there for comparison. Differences are paired by training
seed and by start. In the room every seed has a dataset of its own; HalfCheetah's seeds share one
and differ in which transitions are corrupted.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks import pointmass
from benchmarks.common import machine, write_result
from benchmarks.halfcheetah import ENVIRONMENT
from benchmarks.learning import difference, train
from benchmarks.pointmass import HIGH, LOW, C, Data
from embodied.dataset import Dataset
from embodied.engine.data import Source, standardise
from embodied.episodes import outcome_arrays
from embodied.stages.evaluate import evaluate_policies
from embodied.stages.labelled import OWN_REWARD, read_reward
from embodied.stages.settings import action_bounds
from embodied.statistics import Outcomes, summary
from embodied.transforms import Corruption, corrupt_transitions
from embodied.types import Transitions
from policies.bc import BCConfig
from policies.iql import IQLConfig
from policies.package import PackagedPolicy

RATE = 0.3
CRITICS = 5
GRID = tuple(itertools.product((0.1, 0.25, 0.5), (0.1, 0.5, 1.0, 3.0)))  # quantile, Huber's sigma
TUNING_SEEDS, FIRST_SEED, START_SEED = (100, 101), 0, 2_000
MARGIN = 0.1  # of IQL's return without corruption, which Robust IQL may fall behind
EPISODES = 300  # of a dataset in the room


@dataclass(frozen=True)
class Task:
    """What is learnt and how policies are judged."""

    name: str
    data: Callable[[int], Data]  # seed -> clean data
    returns: Callable[[Sequence[PackagedPolicy]], list[npt.NDArray[np.float64]]]  # by policy
    bounds: tuple[Sequence[float], Sequence[float]]  # of the action
    config: IQLConfig  # plain IQL's
    steps: int  # updates


def corrupted(data: Data, rate: float, seed: int) -> Data:
    """Return the data with a share of its next observations corrupted.

    A next observation then is no longer the row of the transition after it, so every transition
    becomes an episode of its own, of two rows.
    """
    source, count = data.source, len(data.source)
    row = np.arange(count) + np.searchsorted(source.episode_starts, np.arange(count), "right") - 1
    clean = Transitions(
        observation=source.observation[row],
        action=source.action,
        next_observation=source.observation[row + 1],
        terminated=source.terminated,
        truncated=np.zeros(count, bool),
    )
    found = corrupt_transitions(clean, Corruption("dynamics", rate=rate, seed=seed))
    rows = np.stack([found.observation, found.next_observation], 1).reshape(2 * count, -1)
    return Data(Source(rows, source.action, source.terminated, np.arange(count)), data.reward)


def room(episodes: int = EPISODES, evaluated: int = 100) -> Task:
    """Return the task of coming to C from anywhere left of the wall; the return is minus steps."""
    start = pointmass.left_of_the_wall(evaluated, np.random.default_rng(START_SEED))

    def returns(policies: Sequence[PackagedPolicy]) -> list[npt.NDArray[np.float64]]:
        return [
            -pointmass.roll(
                lambda state, policy=policy: policy.predict(state, deterministic=True)[0], start, C
            ).length.astype(np.float64)
            for policy in policies
        ]

    return Task(
        "room",
        lambda seed: pointmass.replay(episodes, np.random.default_rng(seed)),
        returns,
        (LOW, HIGH),
        IQLConfig(hidden=(128, 128), expectile=0.9, temperature=10.0),
        steps=8_000,
    )


def halfcheetah(folder: Path, evaluated: int = 10) -> Task:
    """Return HalfCheetah on a replay dataset, with the reward scaled as ``train`` does."""
    dataset = Dataset(folder)
    column = standardise(read_reward(dataset, OWN_REWARD)[0], shift=True)
    data = Data(
        Source(
            np.asarray(dataset.column("observation")),
            np.asarray(dataset.column("action")),
            np.asarray(dataset.column("terminated")),
            dataset.episode_starts,
        ),
        ((column.values - column.shift) / column.scale).astype(np.float32),
    )

    def returns(policies: Sequence[PackagedPolicy]) -> list[npt.NDArray[np.float64]]:
        found = evaluate_policies(ENVIRONMENT, policies, evaluated, START_SEED)
        return [outcome_arrays(episodes)["return"] for episodes in found]

    bounds = action_bounds(dataset.info.action, folder)
    return Task("halfcheetah", lambda seed: data, returns, bounds, IQLConfig(), steps=50_000)


def robust(config: IQLConfig, quantile: float, sigma: float) -> IQLConfig:
    """Return Robust IQL with all else as in a config."""
    return replace(config, critics=CRITICS, quantile=quantile, huber=sigma)


def outcomes(
    task: Task, config: IQLConfig | BCConfig, rate: float, seeds: Sequence[int], steps: int
) -> Outcomes:
    """Train on corrupted data, one dataset per seed, and return the episodes' returns."""
    data = [corrupted(task.data(seed), rate, seed) for seed in seeds]
    sources, rewards = [item.source for item in data], [item.reward for item in data]
    return task.returns(train(config, sources, rewards, task.bounds, seeds, steps))


def tune(task: Task, seeds: Sequence[int], steps: int) -> list[dict[str, float]]:
    """Return the mean return of every pair of settings at 30 %, the best first."""
    rows = []
    for quantile, sigma in GRID:
        found = outcomes(task, robust(task.config, quantile, sigma), RATE, seeds, steps)
        mean = summary(found)["mean"]
        rows.append({"quantile": quantile, "sigma": sigma, "mean": mean})
        print(f"tuning: quantile {quantile}, sigma {sigma}: {mean:.1f}", flush=True)
    return sorted(rows, key=lambda row: -row["mean"])


def measure(
    task: Task,
    seeds: Sequence[int],
    tuning_seeds: Sequence[int],
    steps: int,
    given: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Choose the settings unless they are given, compare on fresh seeds, return the result."""
    pair = {"quantile": given[0], "sigma": given[1]} if given else None
    tuning = [] if pair else tune(task, tuning_seeds, steps)
    plain, best = task.config, pair or tuning[0]
    shared = {"hidden": plain.hidden, "batch_size": plain.batch_size}
    arms = {
        "iql": plain,
        "robust_iql": robust(plain, best["quantile"], best["sigma"]),
        "bc": BCConfig(**shared, learning_rate=plain.learning_rate),
    }
    found: dict[str, Any] = {}
    for rate in (0.0, RATE):
        by_arm = {name: outcomes(task, arm, rate, seeds, steps) for name, arm in arms.items()}
        gain = difference(by_arm["robust_iql"], by_arm["iql"])
        rows = {name: summary(item) for name, item in by_arm.items()}
        found[f"{rate:.0%}"] = {"return": rows, "robust_iql_minus_iql": gain}
        for name, row in {**rows, "robust - plain": gain}.items():
            low, high = row["ci95"]
            print(f"{rate:.0%} {name:14} {row['mean']:8.1f} [{low:.1f}, {high:.1f}]", flush=True)
    clean = found["0%"]["return"]["iql"]["mean"]
    gains = [found[key]["robust_iql_minus_iql"]["ci95"] for key in found]
    return {
        "chosen": best,
        "tuning": tuning,
        "corruption": found,
        # Above IQL at 30 % by more than the interval; at 0 % at most a tenth below it, surely.
        "shown": gains[1][0] > 0.0 and gains[0][0] >= -MARGIN * abs(clean),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="HalfCheetah's replay dataset, for that task")
    parser.add_argument("--steps", type=int, help="updates; the task's own number by default")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--given", type=float, nargs=2, metavar=("QUANTILE", "SIGMA"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/robust.json"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    task = halfcheetah(options.data) if options.data else room()
    steps = options.steps or task.steps
    about = machine(("torch", "numpy"))
    seeds = range(FIRST_SEED, FIRST_SEED + options.seeds)
    result = measure(task, seeds, TUNING_SEEDS, steps, options.given)
    settings = {
        "task": task.name,
        "steps": steps,
        "seeds": list(seeds),
        "tuning_seeds": list(TUNING_SEEDS),
        "critics": CRITICS,
        "iql": vars(task.config),
    }
    write_result(options.out, "robust", about, settings | result)


if __name__ == "__main__":
    main()
