"""Several saved rewards as one that is careful where they disagree.

Source: Coste et al. 2024, "Reward Model Ensembles Help Mitigate Overoptimization": the mean of the
members minus a weight times their variance (uncertainty-weighted optimisation). Members are first
re-scaled to z-scores, with statistics that are measured once and kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from embodied.errors import UserError
from embodied.files import read_json, write_json
from embodied.transforms import Scaling, ensemble_moments, fit_scaling
from embodied.types import Score, Task, Transitions
from rewards import provenance
from rewards.checks import diagnostics
from rewards.code_reward import CodeReward

KIND = "ensemble"
SCHEMA_VERSION = 1
REQUIRED = ("schema_version", "kind", "uncertainty_weight", "mean", "std", "members")


class EnsembleReward:
    """Scores a transition with the members' mean z-score minus a weight times their variance."""

    def __init__(
        self, members: Sequence[CodeReward], scaling: Scaling, uncertainty_weight: float
    ) -> None:
        if not math.isfinite(uncertainty_weight) or uncertainty_weight < 0:
            raise UserError(
                f"uncertainty_weight is {uncertainty_weight}; it must be a number of at least 0"
            )
        self.members, self.scaling = tuple(members), scaling
        self.uncertainty_weight = uncertainty_weight

    def score(self, batch: Transitions) -> Score:
        """Return the total and its two terms, float32 ``[N]`` each.

        Raises:
            UserError: The batch lacks a field that a member reads.
        """
        totals = [member.score(batch).total for member in self.members]
        mean, variance = ensemble_moments(totals, self.scaling)
        uncertainty = -self.uncertainty_weight * variance
        return Score(mean + uncertainty, {"mean": mean, "uncertainty": uncertainty})

    def provenance(self) -> dict[str, Any]:
        """Return kind, weight, scaling and the members' provenance."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "uncertainty_weight": self.uncertainty_weight,
            "mean": list(self.scaling.mean),
            "std": list(self.scaling.std),
            "members": [member.provenance() for member in self.members],
        }


def compose(
    runs: Sequence[str], uncertainty_weight: float, task: Task, sample: Transitions | None
) -> EnsembleReward:
    """Compose the rewards that earlier runs accepted, scaled on sampled transitions.

    Raises:
        UserError: Fewer than two runs, no sample, or a run without a reward for this task.
    """
    if len(runs) < 2:
        raise UserError("reward=ensemble needs reward.members=[RUN,RUN,...], at least two runs")
    if sample is None:
        raise UserError("reward=ensemble needs transitions to measure its members on")
    members = [provenance.load_saved(Path(run) / "reward", task) for run in runs]
    scaling = fit_scaling([member.score(sample).total for member in members])
    return EnsembleReward(members, scaling, uncertainty_weight)


def save(reward: EnsembleReward, folder: Path, sample: Transitions | None) -> None:
    """Write the ensemble's folder: each member's own folder, then what combines them."""
    for index, member in enumerate(reward.members):
        provenance.save(member, _member(folder, index), sample)
    if sample is not None:
        measured = diagnostics(reward, sample, sample.columns.get("success"))
        write_json(folder / provenance.DIAGNOSTICS, measured)
    write_json(folder / provenance.PROVENANCE, reward.provenance())


def is_ensemble(folder: Path) -> bool:
    """Return whether a reward's folder holds an ensemble."""
    return bool(read_json(folder / provenance.PROVENANCE, ("kind",))["kind"] == KIND)


def load_saved(folder: Path, task: Task) -> EnsembleReward:
    """Read an ensemble that was saved.

    Raises:
        UserError: A file is missing or was changed, or a member was made for another task.
    """
    path = folder / provenance.PROVENANCE
    stored = read_json(path, REQUIRED)
    if stored["schema_version"] != SCHEMA_VERSION:
        raise UserError(f"{path} has another schema version; make it again")
    numbers = [stored["mean"], stored["std"]]
    count = len(stored["members"]) if isinstance(stored["members"], list) else 0
    if count < 2 or not all(_are_numbers(item, count) for item in numbers):
        raise UserError(f"{path} is malformed (members, mean or std); make it again")
    if not _are_numbers([stored["uncertainty_weight"]], 1) or min(stored["std"]) <= 0:
        raise UserError(f"{path} is malformed (uncertainty_weight or std); make it again")
    members = [provenance.load_saved(_member(folder, index), task) for index in range(count)]
    scaling = Scaling(tuple(stored["mean"]), tuple(stored["std"]))
    return EnsembleReward(members, scaling, float(stored["uncertainty_weight"]))


def _member(folder: Path, index: int) -> Path:
    return folder / f"member-{index}"


def _are_numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(item) in (int, float) and math.isfinite(item) for item in values)
    )
