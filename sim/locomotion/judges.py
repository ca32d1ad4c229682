"""Tests of success: each follows episodes from what is measured after every control step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embodied.types import Array
from sim.locomotion.task import Progress, State


@dataclass(frozen=True)
class Forward:
    """Covers a distance without ever falling; a fall ends the episode."""

    distance: float  # m along x, from the start to the last step
    min_height: float  # m, of the torso's middle; below it the robot has fallen
    min_up: float  # vertical component of the torso's upward axis; below it, too
    max_drift: float = 1.0  # sideways, as a share of the way forwards

    @property
    def ending(self) -> str:
        """One sentence on how an episode ends early."""
        height = f"z falls below {self.min_height:g} or " if self.min_height > 0 else ""
        return f"The episode ends early when {height}torso_up falls below {self.min_up:g}."

    def begin(self, state: State) -> Progress:
        """Remember where the torso starts."""
        return {"start": state["torso_position"][:, :2].copy()}

    def follow(self, progress: Progress, state: State) -> Progress:
        """Return the progress as it is: where the robot stands tells the way."""
        return progress

    def success(self, progress: Progress, state: State) -> Array:
        """Return bool [N]: far enough forwards, not too far sideways, not fallen."""
        way = state["torso_position"][:, :2] - progress["start"]
        forwards, sideways = way[:, 0], np.abs(way[:, 1])
        far = (forwards >= self.distance) & (sideways <= self.max_drift * forwards)
        return far & ~self.failed(state)

    def failed(self, state: State) -> Array:
        """Return bool [N]: fallen."""
        low = state["torso_position"][:, 2] < self.min_height
        return low | (state["torso_up"] < self.min_up)


@dataclass(frozen=True)
class Flip:
    """Turns the torso all around without its ever touching the floor; a touch ends the episode."""

    direction: float  # 1 forwards, -1 backwards
    half_length: float  # m, from the torso's middle to the centre of its rounded ends
    radius: float  # m, of the torso
    clearance: float = 0.01  # m between torso and floor below which they count as touching

    @property
    def ending(self) -> str:
        """One sentence on how an episode ends early."""
        return "The episode ends early when any part of the torso touches the floor."

    def begin(self, state: State) -> Progress:
        """Remember the torso's angle at the start."""
        return {"start": state["torso_pitch"].copy()}

    def follow(self, progress: Progress, state: State) -> Progress:
        """Return the progress as it is: the pitch counts whole turns by itself."""
        return progress

    def success(self, progress: Progress, state: State) -> Array:
        """Return bool [N]: turned by at least a whole turn since the start, and not fallen."""
        turned = self.direction * (state["torso_pitch"] - progress["start"])
        return (turned >= 2 * np.pi) & ~self.failed(state)

    def failed(self, state: State) -> Array:
        """Return bool [N]: the torso touches the floor."""
        end = state["torso_position"][:, 2] - self.half_length * np.abs(state["torso_up"])
        return end - self.radius < self.clearance


@dataclass(frozen=True)
class LieDown:
    """Lies flat, low, upside up and still for a while."""

    max_height: float  # m, of the torso's middle
    min_up: float  # vertical component of the torso's upward axis
    max_speed: float  # m/s, of the torso's middle
    max_turning: float  # rad/s, of the torso
    steps: int  # control steps in a row

    ending = ""

    def begin(self, state: State) -> Progress:
        """Start with no step of lying."""
        return {"lying": np.zeros(len(state["torso_up"]))}

    def follow(self, progress: Progress, state: State) -> Progress:
        """Count the control steps in a row that were spent lying."""
        lies = (
            (state["torso_position"][:, 2] <= self.max_height)
            & (state["torso_up"] >= self.min_up)
            & (np.linalg.norm(state["torso_velocity"], axis=-1) <= self.max_speed)
            & (np.linalg.norm(state["torso_angular_velocity"], axis=-1) <= self.max_turning)
        )
        return {"lying": np.where(lies, progress["lying"] + 1, 0.0)}

    def success(self, progress: Progress, state: State) -> Array:
        """Return bool [N]: lying for long enough up to now."""
        return np.asarray(progress["lying"] >= self.steps)

    def failed(self, state: State) -> Array:
        """Return bool [N]: never."""
        return np.zeros(len(state["torso_up"]), dtype=np.bool_)


@dataclass(frozen=True)
class WaveLeg:
    """Swings one foot up and down several times while the other feet and the torso stay."""

    foot: str  # field of the foot that waves
    others: tuple[str, ...]  # fields of the feet that stay down
    low: float  # m; a swing begins below this height
    high: float  # m; and is counted above this one
    other_height: float  # m; higher than this no other foot may be while a swing is counted
    waves: int  # swings of an episode
    min_up: float  # vertical component of the torso's upward axis, throughout
    max_distance: float  # m, of the torso from its start, throughout

    ending = ""

    def begin(self, state: State) -> Progress:
        """Start with no wave, and a torso that stayed."""
        zero = np.zeros(len(state["torso_up"]))
        start = state["torso_position"][:, :2].copy()
        was_low = (state[self.foot][:, 2] <= self.low).astype(np.float64)
        return {"start": start, "was_low": was_low, "waves": zero, "moved": zero.copy()}

    def follow(self, progress: Progress, state: State) -> Progress:
        """Count a wave where the foot comes up after it was low; see whether the torso moved."""
        height = state[self.foot][:, 2]
        others = np.stack([state[name][:, 2] for name in self.others], axis=-1).max(axis=-1)
        up = (height >= self.high) & (others <= self.other_height)
        counted = up & (progress["was_low"] > 0)
        was_low = np.where(height <= self.low, 1.0, np.where(counted, 0.0, progress["was_low"]))
        away = np.linalg.norm(state["torso_position"][:, :2] - progress["start"], axis=-1)
        moved = (state["torso_up"] < self.min_up) | (away > self.max_distance)
        return {
            "start": progress["start"],
            "was_low": was_low,
            "waves": progress["waves"] + counted,
            "moved": np.maximum(progress["moved"], moved),
        }

    def success(self, progress: Progress, state: State) -> Array:
        """Return bool [N]: enough waves, and the torso stayed up, level and in its place."""
        return (progress["waves"] >= self.waves) & (progress["moved"] == 0)

    def failed(self, state: State) -> Array:
        """Return bool [N]: never."""
        return np.zeros(len(state["torso_up"]), dtype=np.bool_)
