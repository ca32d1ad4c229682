"""A reward learnt from preferences: an ensemble's mean minus a weight times its deviation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file

from embodied.errors import UserError
from embodied.files import atomic_path, read_json, sha256_file, write_json
from embodied.preferences import PreferencePairs
from embodied.types import LazyColumns, Score, Transitions
from rewards.embedding.clip import Clip
from rewards.preferences.fit import prepared
from rewards.preferences.networks import rewards
from rewards.preferences.source import Images
from rewards.provenance import PROVENANCE

KIND = "preferences"
SCHEMA_VERSION = 1
WEIGHTS = "reward_model.safetensors"
REQUIRED = ("schema_version", "kind", "task", "features", "weights_sha256", "uncertainty_weight")
FEATURES = ("state", "clip", "cnn")
ROWS = 1024  # transitions whose pictures are held at a time
Floats = npt.NDArray[np.float32]


@dataclass
class Features:
    """What an ensemble reads of a state: the observation, CLIP's vector of its picture, or pixels.

    Attributes:
        kind: ``state``, ``clip`` or ``cnn``.
        frames: Draws named states; None for ``state``.
        clip: The model, for ``clip``.
    """

    kind: str
    frames: Any = None
    clip: Clip | None = None

    def of(self, batch: Transitions) -> npt.NDArray[Any]:
        """Return what is read of every ``s_{t+1}``: float32 [N, F], or uint8 [N, 3, H, W]."""
        if self.kind == "state":
            return np.asarray(batch.next_observation, np.float32)
        return self.of_pictures(pictures_of(batch, self.frames))

    def of_pictures(self, pictures: Images) -> npt.NDArray[Any]:
        """Return the same of pictures uint8 [N, H, W, 3]."""
        if self.kind == "clip":
            assert self.clip is not None
            return self.clip.images(pictures)
        return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))


def pictures_of(batch: Transitions, frames: Any) -> Images:
    """Return the picture of every ``s_{t+1}``, uint8 [N, H, W, 3]: stored, or drawn from fields.

    Raises:
        UserError: There are neither.
    """
    if "image" in batch.columns:
        return np.asarray(batch.columns["image"], np.uint8)
    if frames is None:
        raise UserError(
            "these states cannot be drawn and hold no pictures; use reward.features=state with "
            "reward.source=oracle, or a task that can be drawn: cartpole, reach, push"
        )
    return np.asarray(frames(batch.next_state), np.uint8)


class PreferenceReward:
    """Implements ``embodied.types.Reward``.

    Args:
        weights: Of the ensemble, ``[E, ...]``, with ``mean`` and ``std`` of the numbers it reads.
        features: What it reads.
        uncertainty_weight: Of the members' standard deviation, which is taken off their mean.
        origin: Provenance without what is added here.
    """

    def __init__(
        self,
        weights: Mapping[str, torch.Tensor],
        features: Features,
        uncertainty_weight: float,
        origin: Mapping[str, Any],
    ) -> None:
        self.weights, self.features = dict(weights), features
        self.uncertainty_weight, self._origin = uncertainty_weight, dict(origin)
        self.pairs: PreferencePairs | None = None  # what it was learnt from, of a dataset

    def score(self, batch: Transitions) -> Score:
        """Return the total and its terms, float32 ``[N]``; the mean lies between -1 and 1."""
        parts = [
            self.members(self.features.of(_rows(batch, slice(first, first + ROWS))))
            for first in range(0, len(batch), ROWS)
        ]
        every = np.concatenate(parts, axis=1)
        mean, deviation = every.mean(0), every.std(0)
        doubt = -self.uncertainty_weight * deviation
        total = (mean + doubt).astype(np.float32)
        return Score(total, {"mean": mean.astype(np.float32), "doubt": doubt.astype(np.float32)})

    def members(self, inputs: npt.NDArray[Any]) -> Floats:
        """Return every member's reward ``[E, N]`` of what is read."""
        return ensemble_rewards(self.weights, inputs)

    def provenance(self) -> dict[str, Any]:
        """Return where it came from."""
        return dict(self._origin)

    def save(self, folder: Path) -> None:
        """Write weights and provenance; the provenance comes last and vouches for the weights."""
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / WEIGHTS) as temporary:
            save_file({k: v.contiguous() for k, v in self.weights.items()}, temporary)
        self._origin |= {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "features": self.features.kind,
            "weights_sha256": sha256_file(folder / WEIGHTS),
            "uncertainty_weight": self.uncertainty_weight,
        }
        write_json(folder / PROVENANCE, self._origin)


def ensemble_rewards(weights: Mapping[str, torch.Tensor], inputs: npt.NDArray[Any]) -> Floats:
    """Return every member's reward ``[E, N]`` of what is read."""
    with torch.inference_mode():
        return np.asarray(rewards(weights, normalised(weights, inputs)))


def normalised(weights: Mapping[str, torch.Tensor], inputs: npt.NDArray[Any]) -> torch.Tensor:
    """Return what the networks take: numbers with mean 0 and deviation 1, or pixels in 0 to 1."""
    tensor = torch.from_numpy(np.ascontiguousarray(inputs))
    if tensor.ndim == 4:
        return prepared(tensor)
    return (tensor - weights["mean"]) / weights["std"]


def _rows(batch: Transitions, rows: slice) -> Transitions:
    """Return a part of what a score reads."""

    def part(columns: Mapping[str, Any]) -> LazyColumns:
        return LazyColumns({name: partial(_part, columns, name, rows) for name in columns})

    return Transitions(
        observation=batch.observation[rows],
        action=batch.action[rows],
        next_observation=batch.next_observation[rows],
        terminated=batch.terminated[rows],
        truncated=batch.truncated[rows],
        next_state=part(batch.next_state),
        columns=part(batch.columns),
    )


def _part(columns: Mapping[str, Any], name: str, rows: slice) -> Any:
    return columns[name][rows]


def load(folder: Path, task: str, make_frames: Callable[[int], Any] | None) -> PreferenceReward:
    """Read a reward that was saved.

    Raises:
        UserError: A file is missing or was changed, or it was made for another task.
    """
    stored = read_json(folder / PROVENANCE, REQUIRED)
    path = folder / WEIGHTS
    if stored["schema_version"] != SCHEMA_VERSION or stored["features"] not in FEATURES:
        raise UserError(f"{folder / PROVENANCE} has another schema version; make it again")
    if stored["task"] != task:
        raise UserError(
            f"this reward was made for task {stored['task']}, not for {task}; make one for this"
        )
    if not path.is_file() or sha256_file(path) != stored["weights_sha256"]:
        raise UserError(f"{path} is missing or was changed after it was made; make it again")
    clip = None
    if stored["features"] == "clip":
        model = stored.get("clip", {})
        clip = Clip.load(Path(model["folder"])) if model.get("folder") else Clip.load()
        if clip.sha256 != model.get("sha256"):
            raise UserError(f"the CLIP model of {folder} was changed since; make the reward again")
    frames = None
    if stored["features"] != "state" and make_frames is not None:
        frames = make_frames(int(stored.get("look", 0)))
    features = Features(stored["features"], frames, clip)
    return PreferenceReward(load_file(path), features, float(stored["uncertainty_weight"]), stored)
