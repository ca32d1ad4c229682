"""What a locomotion task is: a walking robot, a sentence, and a judge of its episodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from embodied.types import Array, Field
from sim.locomotion.robots import Float, WalkingRobot

State = Mapping[str, Array]  # named fields, [N, ...]
Progress = dict[str, Array]  # what a judge keeps of every running episode, float64 [N, ...]


class Judge(Protocol):
    """Follows episodes and tells which have succeeded; pure functions of arrays."""

    @property
    def ending(self) -> str:
        """One sentence on how an episode ends early, or nothing where it never does."""
        ...

    def begin(self, state: State) -> Progress:
        """Return the progress of episodes that begin in ``state``."""
        ...

    def follow(self, progress: Progress, state: State) -> Progress:
        """Return the progress after a control step that led to ``state``."""
        ...

    def success(self, progress: Progress, state: State) -> Array:
        """Return bool [N], whether an episode that ended now would be a success."""
        ...

    def failed(self, state: State) -> Array:
        """Return bool [N], whether the episode is over because of what happened."""
        ...


@dataclass(frozen=True)
class LocomotionTask:
    """A ``Task`` of one of Gymnasium's walking robots.

    Attributes:
        name: Short name.
        instruction: The sentence used when the user gives none.
        robot: The robot.
        judge: Tells success and failure; neither is among the fields.
        max_steps: Control steps of an episode.
        turns: Whether the torso turns without end: a planar robot's policy is then shown sine and
            cosine of the torso's pitch in place of Gymnasium's unwrapped angle.
        behaviour: Whose episodes best tell success from failure: no walking robot is scripted.
    """

    name: str
    instruction: str
    robot: WalkingRobot
    judge: Judge
    max_steps: int
    turns: bool = False
    behaviour: str = "random"

    @property
    def control_hz(self) -> float:
        """Control steps per second."""
        return self.robot.control_hz

    @property
    def action(self) -> Field:
        """The action's documentation; low and high are its bounds."""
        return self.robot.action

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        """The robot's fields; the torso's position tells how an episode ends early."""
        fields = dict(self.robot.fields)
        if self.judge.ending:
            torso = fields["torso_position"]
            meaning = f"{torso.meaning} {self.judge.ending}"
            fields["torso_position"] = replace(torso, meaning=meaning)
        return fields

    def observe(self, qpos: Float, qvel: Float) -> Array:
        """Return the policy's observation, float32 [N, O]."""
        seen = self.robot.observe(qpos, qvel)
        if not self.turns:
            return seen
        pitch = qpos[:, 2:3]
        angle = np.concatenate([np.sin(pitch), np.cos(pitch)], axis=-1).astype(np.float32)
        return np.concatenate([seen[:, :1], angle, seen[:, 2:]], axis=-1)
