"""What a training keeps besides its metrics: the reward, policy packages, the behaviour control."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from embodied.dataset import EXTRA, Dataset
from embodied.environments import EnvConfig
from embodied.errors import UserError
from embodied.files import sha256_file
from embodied.labels import reward_folder
from embodied.registry import resolve
from embodied.runs import RunFolder
from embodied.stages.arms import Group
from embodied.stages.divergence import Divergence
from embodied.types import Field


def export(
    run: RunFolder,
    groups: Sequence[Group],
    datasets: Sequence[Dataset],
    env: EnvConfig,
    seeds: Sequence[int],
    steps: int,
    diverged: Divergence,
) -> None:
    """Write every sound policy package that an earlier try of this run did not write."""
    for group in groups:
        for arm, seed, policy in group.policies(seeds, diverged):
            dataset = datasets[list(seeds).index(seed) % len(datasets)]
            facts = {
                "steps": steps,
                "environment": asdict(env),
                "control_hz": dataset.info.control_hz,
                "data": dataset.digest,
            }
            write_package(run, arm, seed, policy, dataset.info.action, facts)


def write_package(
    run: RunFolder, arm: str, seed: int, policy: Any, action: Field, facts: Mapping[str, Any]
) -> None:
    """Write one policy package unless it is there; ``facts`` are more of its description."""
    reward = run.manifest["reward"]
    policy.description |= {
        **facts,
        "reward": reward if arm == "policy" else {"kind": arm},
        "instruction": reward.get("instruction"),
        "action": {**asdict(action), **policy.description["action"]},
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
    returns = [item.episode_returns() for item in datasets]
    if all(item is not None for item in returns):
        outcomes["return"] = [item.tolist() for item in returns if item is not None]
    return outcomes


def keep_reward(run: RunFolder, dataset: Dataset, label: str, reward: Mapping[str, Any]) -> None:
    """Copy the reward's code and provenance from beside the labels into the run.

    A kill between labels and code can leave the code of another reward there, so the code has to be
    the one that the labels name.
    """
    kept, wanted = reward_folder(dataset, label), reward.get("source_sha256")
    if wanted is None:
        return
    for folder in (kept, kept.with_suffix(".making")):
        code = folder / "reward.py"
        if code.is_file() and sha256_file(code) == wanted:
            shutil.copytree(folder, run.path / "reward", dirs_exist_ok=True)
            return
    raise UserError(
        f"the code of the reward behind the label {label!r} is not beside it in "
        f"{dataset.folder}; label it again"
    )
