"""What a training leaves behind besides its metrics: policy packages and the behaviour control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from embodied.dataset import EXTRA, Dataset
from embodied.environments import EnvConfig
from embodied.registry import resolve
from embodied.runs import RunFolder
from embodied.stages.arms import Group


def export(
    run: RunFolder,
    groups: Sequence[Group],
    datasets: Sequence[Dataset],
    env: EnvConfig,
    seeds: Sequence[int],
    steps: int,
) -> None:
    """Write every policy package that an earlier try of this run did not write."""
    reward = run.manifest["reward"]
    for group in groups:
        for arm, seed, policy in group.policies(seeds):
            dataset = datasets[list(seeds).index(seed) % len(datasets)]
            policy.description |= {
                "steps": steps,
                "environment": asdict(env),
                "control_hz": dataset.info.control_hz,
                "data": dataset.digest,
                "reward": reward if arm == "policy" else {"kind": arm},
                "instruction": reward.get("instruction"),
                "action": {**asdict(dataset.info.action), **policy.description["action"]},
            }
            folder = package_folder(run, arm, seed)
            if not folder.exists():
                resolve("package", "save")(folder, policy)


def package_folder(run: RunFolder, arm: str, seed: int) -> Path:
    """Return where the package of an arm and a seed lies."""
    parent = run.path / "policy" if arm == "policy" else run.path / "controls" / arm
    return parent / str(seed)


def behaviour_outcomes(datasets: list[Dataset]) -> dict[str, Any]:
    """Return success and return of the datasets' own episodes: the behaviour control."""
    outcomes: dict[str, Any] = {"success": None, "return": None}
    if all(item.has(f"{EXTRA}success") for item in datasets):
        ends = [item.episode_ends(f"{EXTRA}success") for item in datasets]
        outcomes["success"] = [[float(value) for value in item] for item in ends]
    rewards = [item.true_reward() for item in datasets]
    outcomes["return"] = [
        [float(value) for value in np.add.reduceat(reward, item.episode_starts)]
        for item, reward in zip(datasets, rewards, strict=True)
        if reward is not None
    ] or None
    return outcomes
