"""Where scripted episodes want the tool next: pure functions over all environments at once.

They hold no state of their own: what they want follows from the plan and from what is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from embodied.types import Array, BoolArray
from sim.maniskill.task import FINGER

Float = npt.NDArray[np.float64]

CLEAR = 0.07  # m above a cube's centre, where nothing is touched
LEVEL = 0.012  # m beside the cube at which the tool goes down
LOW = 0.012  # m above the cube's centre at which the fingers close
MISS = (0.05, 0.1)  # m beside the cube, where a wrong pick looks for it
ELSEWHERE = (0.08, 0.2)  # m between the goal and where a wrong episode brings the cube
MISSED = 0.5  # share of the wrong picks that miss the cube
PUSHED_ELSEWHERE = (0.16, 0.25)  # m, the same of a push, whose goal is a region

PUSH_HEIGHT = 0.025  # m of the tool while it pushes
BEHIND = 0.06  # m from the cube's centre, where a push is prepared
BESIDE = 0.015  # m off the line of the push at which it may begin
ARRIVED = 0.03  # m between the cube and where it is pushed
SPEED = (0.006, 0.02)  # m per control step of a push; a faster cube slides on


class Wanted(NamedTuple):
    """Where the tool should go, [N, 3] m, and the target of its finger joints, [N] m."""

    tool: Float
    fingers: Float


class Script(Protocol):
    """One task's plans and motions, for all environments at once."""

    def plan(self, state: Mapping[str, Array], wrong: BoolArray, rng: np.random.Generator) -> Float:
        """Return plans [N, P] at the start of episodes; a wrong one goes for something else."""
        ...

    def wanted(self, state: Mapping[str, Array], plan: Float) -> Wanted:
        """Return where to go now."""
        ...


class PickScript:
    """Over the cube, down, fingers together, to the goal.

    A plan is an offset beside the cube, at which it is looked for, and one from the goal.
    """

    def plan(self, state: Mapping[str, Array], wrong: BoolArray, rng: np.random.Generator) -> Float:
        """Return plans [N, 6] m; a wrong one misses the cube, or brings it elsewhere."""
        rows = len(wrong)
        missed = wrong & (rng.random(rows) < MISSED)
        beside = _away(rng, rows, MISS, axes=2)
        elsewhere = _away(rng, rows, ELSEWHERE, axes=3)
        return np.concatenate(
            (
                np.where(missed[:, None], beside, 0.0),
                np.where((wrong & ~missed)[:, None], elsewhere, 0.0),
            ),
            axis=1,
        )

    def wanted(self, state: Mapping[str, Array], plan: Float) -> Wanted:
        """Return the next point of a pick."""
        tool, cube = _double(state["tool_position"]), _double(state["cube_position"])
        looked_for = cube + plan[:, :3]
        away = tool - looked_for
        level = np.linalg.norm(away[:, :2], axis=1)
        above = looked_for + np.array((0.0, 0.0, CLEAR))
        down = level < LEVEL + 0.2 * np.clip(away[:, 2], 0.0, CLEAR / 2)
        closing = (level < 2 * LEVEL) & (away[:, 2] < LOW)
        held = np.asarray(state["grasped"]) > 0.5
        carry = tool + _double(state["goal_position"]) + plan[:, 3:] - cube
        carry[:, 2] = np.maximum(carry[:, 2], 0.02)
        point = np.where((down | closing)[:, None], looked_for, above)
        return Wanted(
            np.where(held[:, None], carry, point),
            np.where(held | closing, FINGER[0], FINGER[1]),
        )


class PushScript:
    """Behind the cube, down, forwards along a line with closed fingers.

    A plan is the place to push the cube to and the direction of the line.
    """

    def plan(self, state: Mapping[str, Array], wrong: BoolArray, rng: np.random.Generator) -> Float:
        """Return plans [N, 4]; a wrong one pushes to another place than the goal."""
        cube, goal = _double(state["cube_position"]), _double(state["goal_position"])
        elsewhere = _away(rng, len(wrong), PUSHED_ELSEWHERE, axes=2)
        place = goal + np.where(wrong[:, None], elsewhere, 0.0)
        way = (place - cube)[:, :2]
        ahead = way / np.maximum(np.linalg.norm(way, axis=1), 1e-6)[:, None]
        return np.concatenate((place[:, :2], ahead), axis=1)

    def wanted(self, state: Mapping[str, Array], plan: Float) -> Wanted:
        """Return the next point of a push."""
        tool, cube = _double(state["tool_position"]), _double(state["cube_position"])
        place, ahead = plan[:, :2], plan[:, 2:]
        offset = (tool - cube)[:, :2]
        along = (offset * ahead).sum(axis=1)
        across = np.abs(offset[:, 0] * ahead[:, 1] - offset[:, 1] * ahead[:, 0])
        left = ((place - cube[:, :2]) * ahead).sum(axis=1)

        behind = cube[:, :2] - BEHIND * ahead
        there = np.linalg.norm(tool[:, :2] - behind, axis=1) < BESIDE
        low = tool[:, 2] < 2 * PUSH_HEIGHT
        pushing = low & (along < 0.0) & (across < BESIDE)
        forward = np.clip(0.2 * left, *SPEED)[:, None] * ahead
        aside = offset - along[:, None] * ahead
        flat = np.where(pushing[:, None], tool[:, :2] + forward - 0.5 * aside, behind)
        height = np.where(pushing | there, PUSH_HEIGHT, CLEAR + 0.02)
        point = np.concatenate((flat, height[:, None]), axis=1)
        stay = low & (left < ARRIVED)
        return Wanted(np.where(stay[:, None], tool, point), np.full(len(tool), FINGER[0]))


SCRIPTS: dict[str, type[PickScript] | type[PushScript]] = {
    "maniskill_pick_cube": PickScript,
    "maniskill_push_cube": PushScript,
}


def _double(values: Array) -> Float:
    return np.asarray(values, dtype=np.float64)


def _away(rng: np.random.Generator, rows: int, distance: tuple[float, float], axes: int) -> Float:
    """Draw offsets [N, 3] of a length between two, in every direction of the first axes."""
    direction = rng.standard_normal((rows, 3))
    direction[:, axes:] = 0.0
    direction /= np.maximum(np.linalg.norm(direction, axis=1), 1e-9)[:, None]
    return direction * rng.uniform(*distance, rows)[:, None]
