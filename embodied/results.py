"""``result.json``: what an evaluation found, beside its controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embodied.dataset import Episode
from embodied.environments import environment_from_json
from embodied.episodes import outcome_arrays
from embodied.errors import UserError
from embodied.files import read_json
from embodied.runs import RunFolder
from embodied.statistics import summary

DIVERGED = "diverged.json"  # of a run: the networks that training left out
# Besides the behaviour that made the data; ``sft`` where pairs take the place of a reward.
CONTROLS = ("bc", "sft", "constant_reward", "true_reward")


def outcomes_of(policies: Sequence[Sequence[Episode]]) -> dict[str, Any]:
    """Return ``success`` and ``return``, one array of episodes per policy, or None if unknown."""
    found = [outcome_arrays(episodes) for episodes in policies]
    return {
        key: None if any(item[key] is None for item in found) else [item[key] for item in found]
        for key in ("success", "return")
    }


def describe(
    run: RunFolder,
    packages: Mapping[str, Sequence[Any]],
    outcomes: Mapping[str, Mapping[str, Any]],
    episodes: int,
    evaluation_seed: int,
    wall_s: float | None,
) -> dict[str, Any]:
    """Return the content of ``result.json``.

    Args:
        run: The run; it keeps the outcomes of the behaviour that made its data.
        packages: The evaluated policies by arm: ``policy`` and ``CONTROLS``.
        outcomes: By arm, what ``outcomes_of`` gave.
        episodes: Episodes per policy.
        evaluation_seed: Of the starts; episode ``i`` of every policy begins from it plus ``i``.
        wall_s: Seconds of training; those of the run's earlier result when None.
    """
    described = packages["policy"][0].description
    rows = {arm: summarise(item) for arm, item in outcomes.items()}
    rows["behaviour"] = summarise(behaviour(run))
    earlier = run.path / "result.json"
    if wall_s is None and earlier.is_file():
        wall_s = read_json(earlier, ("wall_s",))["wall_s"]
    return {
        "schema_version": 1,
        "task": environment_from_json(described["environment"]).title,
        "instruction": described["instruction"],
        "policy": described["algorithm"],
        "reward": described["reward"],
        "seeds": [item.description["seed"] for item in packages["policy"]],
        "episodes": episodes,
        "evaluation_seed": evaluation_seed,
        "steps": described["steps"],
        "wall_s": wall_s,
        **rows["policy"],
        "controls": {
            key: rows.get(key) for key in ("behaviour", *CONTROLS) if key != "sft" or key in rows
        },
        "notes": notes(run, packages["policy"]),
    }


def summarise(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return the statistics of one row."""
    return {
        "success": summary(outcome["success"]) if outcome["success"] else None,
        "return": summary(outcome["return"], with_iqm=True) if outcome["return"] else None,
    }


def behaviour(run: RunFolder) -> dict[str, Any]:
    """Return the outcomes of the datasets' own episodes, as ``train`` kept them."""
    path = run.path / "behaviour.json"
    kept = read_json(path, ("success", "return"))
    try:
        return {
            key: [np.asarray(item, np.float64) for item in kept[key]] if kept[key] else None
            for key in ("success", "return")
        }
    except (TypeError, ValueError):
        raise UserError(f"{path} is damaged; restore it or train again") from None


def diverged(run: RunFolder) -> dict[str, dict[str, int]]:
    """Return by which update networks became NaN, by arm and seed; empty where none did.

    Raises:
        UserError: The run's file is damaged.
    """
    path = run.path / DIVERGED
    found = read_json(path) if path.is_file() else {}
    for items in found.values():
        if not isinstance(items, dict) or not all(type(step) is int for step in items.values()):
            raise UserError(f"{path} is damaged; remove it, or train again")
    return found


def computed_on(manifest: Mapping[str, Any]) -> str:
    """Return on what a run was trained, and how its matrix products were computed."""
    if str(manifest.get("device", "cpu")).startswith("cuda"):
        return f"float32 matrix products on {manifest.get('gpu', 'a GPU')}"
    return (
        f"{manifest.get('products', 'float32')} matrix products on "
        f"{manifest.get('processor')}, {manifest.get('torch_threads')} threads"
    )


def notes(run: RunFolder, policies: Sequence[Any]) -> list[str]:
    """Return what a reader of the numbers has to know."""
    datasets, seeds = len({item.description["data"] for item in policies}), len(policies)
    manifest = run.manifest
    sharing = f"{seeds} training seed(s) share {datasets} dataset(s)"
    if all(item.description["data"] is None for item in policies):
        sharing = f"{seeds} training seed(s) learnt online, from the environment's own reward"
    elif 1 < datasets == seeds:
        sharing = "each training seed has its own dataset"
    return [
        "success is judged at the last step of an episode, of the last checkpoint",
        sharing,
        computed_on(manifest),
        *(
            f"policy.{key} differs between the training seeds ({', '.join(map(str, values))}): "
            "their mean is one over settings, and their spread is not that of repetitions"
            for key, values in manifest.get("per_seed", {}).items()
        ),
        *(
            f"{arm}: seed {seed} became NaN by update {step} and is left out"
            for arm, items in diverged(run).items()
            for seed, step in items.items()
        ),
    ]


def table(result: dict[str, Any]) -> str:
    """Return the result with its controls as text."""
    rows = {f"{result['policy']} (this reward)": result, **result["controls"]}
    lines = [f"{'':26}{'success':>9}  95 % interval    return   per seed"]
    for name, row in rows.items():
        if row is None or not (row["success"] or row["return"]):
            continue
        success, returns = row["success"], row["return"]
        cells = ["        -", "               "]
        if success:
            low, high = success["ci95"]
            cells = [f"{success['mean']:9.2f}", f"  {low:5.2f} - {high:5.2f}"]
        per_seed = (success or returns or {"per_seed": []})["per_seed"]
        seeds = " ".join(f"{value:.2f}" for value in per_seed)
        mean = f"{returns['mean']:9.2f}" if returns else "        -"
        lines.append(f"{name:26}{cells[0]}{cells[1]:16}{mean}   {seeds}")
    return "\n".join(lines)
