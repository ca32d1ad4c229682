"""A round of reflection: several programs asked for, trained together, the best one kept.

Offline all candidates of a round share one learner (candidates times training seeds,
``stages.arms``); online they are trained in turn (``stages.reflect_online``). They are compared by
the mean over training seeds of the task's success, on starts that neither the learning curves nor
the final evaluation use; the incumbent stays unless a candidate is above it.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from embodied.dataset import Dataset, Episode
from embodied.engine.precision import set_matmul_precision
from embodied.episodes import concatenate, outcome_arrays
from embodied.errors import UserError
from embodied.files import atomic_path, read_json, write_json
from embodied.registry import resolve
from embodied.results import outcomes_of, summarise
from embodied.rounds import SELECTION
from embodied.runs import RunFolder, read_metrics
from embodied.stages import reflect_online, train
from embodied.stages.arms import Group, make_groups, reward_columns
from embodied.stages.divergence import Divergence
from embodied.stages.evaluate import evaluate_policies
from embodied.stages.labelled import open_checked
from embodied.stages.loop import Loop
from embodied.stages.spending import SpentError
from embodied.types import Reward, RewardContext

POINTS = 10  # of a learning curve that the model is shown
SELECTION_SEED_OFFSET = 700_000  # keeps the starts of the selection apart from all others
INCUMBENT = "incumbent"  # the arm of the program that a loop began with
CANDIDATES = "candidates"  # in a round's folder: the run of their training, online one each
SAMPLES = "samples"  # in a round's folder: the programs that were asked for

Outcome = dict[str, Any]  # success and return of an arm, as in result.json


def reflect(loop: Loop, number: int) -> None:
    """Do one round; its ``selection.json`` comes last."""
    folder = loop.folder(number)
    if (folder / SELECTION).is_file():
        return
    first = number == loop.first
    before = {} if first else read_json(loop.folder(number - 1) / SELECTION, ("best",))
    names, stopped = ask(loop, number, before)
    arms = {INCUMBENT: incumbent(loop)} if first else {}
    arms |= {f"sample_{name}": folder / SAMPLES / name / "reward" for name in names}
    found: dict[str, Outcome] = {}
    if arms and not stopped:
        try:
            found = compare(loop, folder, arms)
        except SpentError as error:
            stopped = str(error)
    best = choose(found, dict(before.get("best") or {}), number)
    chosen = best.get("arm") if best.get("round") == number else None
    keep(folder / "reward", arms[chosen] if chosen in arms else newest(loop, number))
    told = note(found, best, number, len(names), loop.config.samples, stopped)
    print(f"round {number}: {told}", flush=True)
    loop.spending.show()
    write_json(folder / SELECTION, {"note": told, "best": best, "candidates": found})


def newest(loop: Loop, number: int) -> Path:
    """Return the reward folder of the best program before a round."""
    return loop.folder(number - 1) / "reward" if number > loop.first else incumbent(loop)


def incumbent(loop: Loop) -> Path:
    """Return the reward folder of the program that the loop began with."""
    last = loop.earlier(loop.first)[-1].number
    return (loop.folder(last) if last else loop.root.path) / "reward"


def ask(loop: Loop, number: int, before: Mapping[str, Any]) -> tuple[list[str], str]:
    """Return the accepted samples of a round, and why the loop has to stop, if it has to."""
    samples = loop.folder(number) / SAMPLES
    if (samples / "samples.json").is_file():
        kept = read_json(samples / "samples.json", ("accepted",))["accepted"]
        return [str(name) for name in kept], ""
    try:
        loop.spending.check_time()
    except SpentError as error:
        return [], str(error)
    print(f"round {number}: asking for {loop.config.samples} programs", flush=True)
    accepted = resolve("improvement", "sample")(
        loop.context(samples),
        loop.earlier(number)[-1],
        told_curves(loop, before),
        str(before.get("note", "")),
        instruction=loop.instruction,
        samples=loop.config.samples,
        first_sample=(number - loop.first) * loop.config.samples,
        max_attempts=loop.config.max_attempts,
    )
    loop.spending.show()
    return list(accepted), ""


def compare(loop: Loop, folder: Path, arms: Mapping[str, Path]) -> dict[str, Outcome]:
    """Train a policy per arm and training seed, and return how each arm did on the selection.

    Raises:
        SpentError: The wall time was used up before the training ended.
    """
    assert loop.training is not None
    if not loop.training.data.paths:
        place = folder / CANDIDATES
        return reflect_online.compare(loop, place, arms, POINTS, SELECTION_SEED_OFFSET)
    config = replace(loop.training, curve_every=-(-loop.training.steps // POINTS))
    train.check(config)
    torch.set_num_threads(config.threads or torch.get_num_threads())
    set_matmul_precision(config.matmul_precision)
    saved = resolve("reward", "saved")
    rewards = {
        arm: saved(RewardContext(path, loop.task, None), path=str(path.parent))
        for arm, path in arms.items()
    }
    datasets = open_checked(config.data, config.env, config.seeds)
    columns = {}
    for arm, reward in rewards.items():
        labels = [scores(dataset, reward) for dataset in datasets]
        scaled = config.standardise_reward
        columns[arm] = reward_columns(datasets, labels, controls=False, scaled=scaled)["policy"]
    groups = make_groups(
        config.policy,
        datasets,
        columns,
        controls=False,
        seeds=config.seeds,
        steps=config.steps,
        device=config.device,
        compiled=config.compile,
    )
    if set(groups[0].arms) != set(arms):
        raise UserError(f"policy={config.policy.get('name')} reads no reward; reflection needs one")
    print(f"training {len(arms)} candidates with {len(config.seeds)} seeds each", flush=True)

    def measure(config: train.TrainConfig, groups: list[Group], diverged: Divergence) -> Any:
        loop.spending.check_time()
        return curves(config, groups, diverged, rewards)

    _, diverged = train.fit(config, RunFolder(folder / CANDIDATES), groups, measure)
    return select(config, groups, diverged)


def scores(dataset: Dataset, reward: Reward) -> npt.NDArray[np.float32]:
    """Return the reward of every stored transition, float32 [N]."""
    parts = [reward.score(dataset.transitions(chunk)).total for chunk in dataset.chunks()]
    return np.concatenate([np.asarray(part, np.float32) for part in parts])


def curves(
    config: train.TrainConfig,
    groups: Sequence[Group],
    diverged: Divergence,
    rewards: Mapping[str, Reward],
) -> train.Curve:
    """Return a point of the learning curves: of each arm and seed the outcome and the terms."""
    seed = config.evaluation_seed + train.CURVE_SEED_OFFSET
    found: train.Curve = {}
    for arm, training_seed, episodes in rolled(config, groups, diverged, seed):
        outcome = outcome_arrays(episodes)
        numbers = {
            **{f"evaluation/{key}": v.mean() for key, v in outcome.items() if v is not None},
            "evaluation/length": np.mean([len(item.action) for item in episodes]),
        }
        for name, values in rewards[arm].score(concatenate(episodes)).terms.items():
            numbers[f"terms/{name}"] = np.mean(values)
        for key, value in numbers.items():
            row = found.setdefault(f"{arm}/{key}", [None] * len(config.seeds))
            row[config.seeds.index(training_seed)] = float(value)
    return found


def rolled(
    config: train.TrainConfig,
    groups: Sequence[Group],
    diverged: Divergence,
    seed: int,
    count: int | None = None,
) -> list[tuple[str, int, list[Episode]]]:
    """Return (arm, training seed, episodes) of every sound network."""
    policies = [item for group in groups for item in group.policies(config.seeds, diverged)]
    acting = [policy for _, _, policy in policies]
    found = evaluate_policies(config.env, acting, count or config.curve_episodes, seed)
    return [(arm, s, items) for (arm, s, _), items in zip(policies, found, strict=True)]


def select(
    config: train.TrainConfig, groups: Sequence[Group], diverged: Divergence
) -> dict[str, Outcome]:
    """Return the success and return of every arm that kept all its training seeds."""
    seed = config.evaluation_seed + SELECTION_SEED_OFFSET
    by_arm: dict[str, list[list[Episode]]] = {}
    for arm, _, episodes in rolled(config, groups, diverged, seed, config.evaluation_episodes):
        by_arm.setdefault(arm, []).append(episodes)
    return {
        arm: summarise(outcomes_of(items))
        for arm, items in by_arm.items()
        if len(items) == len(config.seeds)
    }


def merit(outcome: Mapping[str, Any]) -> float:
    """Return what arms are compared by: mean success over seeds, else the mean return."""
    measured = outcome.get("success") or outcome.get("return")
    return float(measured["mean"]) if measured else -math.inf


def choose(found: Mapping[str, Outcome], before: Outcome, number: int) -> Outcome:
    """Return the best arm so far; an earlier one stays unless a new one is above it."""
    best = before
    for arm, outcome in found.items():
        if not best or merit(outcome) > merit(best):
            best = {**outcome, "arm": arm, "round": number}
    return best


def keep(target: Path, source: Path) -> None:
    """Copy the reward of the chosen program into the round's own folder."""
    if not target.exists():
        with atomic_path(target) as temporary:
            shutil.copytree(source, temporary)


def note(
    found: Mapping[str, Outcome],
    best: Outcome,
    number: int,
    accepted: int,
    asked: int,
    stopped: str,
) -> str:
    """Return how a round went, for a person and for the model."""
    parts = [f"{accepted} of {asked} programs passed their checks and differ."]
    if found:
        measure = "success" if best.get("success") else "return"
        reached = ", ".join(f"{arm} {merit(item):.3g}" for arm, item in found.items())
        parts.append(f"Mean {measure} over training seeds on the starts for selection: {reached}.")
    if best:
        place = "this round" if best["round"] == number else f"round {best['round']}"
        parts.append(f"Best so far: {best['arm']} of {place} with {merit(best):.3g}.")
    if stopped:
        parts.append(f"Stopped: {stopped}.")
    return " ".join(parts)


def told_curves(loop: Loop, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the learning curves of the best arm so far as means over training seeds."""
    best = before.get("best") or {}
    if not best:
        return {}
    folder, arm = loop.folder(int(best["round"])) / CANDIDATES, str(best["arm"])
    online = loop.training is not None and not loop.training.data.paths
    read = reflect_online.curves(RunFolder(folder / arm)) if online else curves_of(folder, arm)
    unit = "environment steps" if online else "updates"
    found: dict[str, Any] = {unit: read.pop("steps"), "terms": {}}
    for key in sorted(read):
        kind, _, name = key.partition("/")
        series = [mean_over_seeds(values) for values in read[key]]
        if kind == "terms":
            found["terms"][name] = series
        elif kind == "evaluation":
            found["episode length" if name == "length" else name] = series
    return found


def curves_of(folder: Path, arm: str) -> dict[str, list[Any]]:
    """Return the learning curves of one arm: the steps, the outcome and the terms, by seed."""
    prefix = f"{arm}/"
    lines = [
        line for line in read_metrics(RunFolder(folder)) if f"{prefix}evaluation/length" in line
    ]
    names = {key for line in lines for key in line if key.startswith(prefix)}
    read = {key.removeprefix(prefix): [line.get(key) for line in lines] for key in names}
    return {"steps": [line["step"] for line in lines], **read}


def mean_over_seeds(values: Any) -> float:
    """Return the mean of the known numbers; NaN where there is none."""
    known = [value for value in values or [] if value is not None]
    return sum(known) / len(known) if known else math.nan
