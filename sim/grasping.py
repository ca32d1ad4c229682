"""Where scripted grasps want the tip and the gripper next: pure functions over all environments.

Everything follows from what is measured now. The tip is the inner end of the fixed finger, so to
grasp a cube it stands half an edge before the cube's centre, on the side of the arm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from embodied.types import Array, BoolArray
from sim import gripper, so101
from sim.gripper import CUBE_SIZE

Float = npt.NDArray[np.float64]

OPEN = 0.6  # rad, of the gripper that is ready to grasp
SQUEEZE = 0.2  # rad, commanded to hold a cube, at which the gripper stands at 0.3
HOVER = 0.045  # m above the standing place, of the tip on its way to a cube
GRASP_HEIGHT = 0.006  # m above the table, of the tip that grasps
SIDE_GAP = 0.008  # m between the fixed finger and the cube on the way down
ALIGNED = 0.005  # m off the way down at which the tip may pass the cube's top
TOP = 0.019  # m, height of the cube's top above the standing place
BESIDE = 0.024  # m above the standing place, of a tip that is still above the cube
CONE = 3.0  # m that the tip stays higher for each m that it is off
AROUND = 0.012  # m between a cube's centre and the grasp point of fingers that are around it
LOW = 0.008  # m above the standing place at which the fingers may close
CLOSED = CUBE_SIZE + 0.004  # m, opening of a gripper that is closed on a cube
WIDE = CUBE_SIZE + 0.008  # m, opening of one that may go down around a cube, or leave it
LIFTED = 0.010  # m off its height at which a lifted cube is only held
CARRY = 0.062  # m above the table, of the centre of a cube that is carried to its place
CLEAR = 0.050  # m, the same of a cube that passes over another one
LEFT_AT = 0.011  # m, level distance at which a cube that is no longer held is left alone
PLACED = 0.008  # m, level distance between a cube and its place at which it is lowered
RESTING = 0.003  # m, between its height and that of its place at which it is let go
RETREAT = 0.055  # m above the cube's centre, of the tip that waits when all is done


class Grasp(NamedTuple):
    """What a grasp is decided by, [N] or [N, 3] in m, rad and the world frame."""

    tip: Float  # measured, of the fixed finger
    cube: Float  # where the plan believes the cube
    outwards: Float  # [N, 2] unit, the way the jaw opens
    opening: Float
    around: BoolArray  # the cube is between the fingers
    gripped: BoolArray  # and they are closed on it


class Hand(NamedTuple):
    """Where the hand should be, and how careful it has to be there."""

    tip: Float  # [N, 3] m, world, as it should be measured
    gripper: Float  # [N] rad
    calm: BoolArray  # [N], where a careful hand is needed


def perceive(state: Mapping[str, Array], tip: Float, offset: Float) -> Grasp:
    """Return what a grasp is decided by.

    Args:
        state: The task's named fields.
        tip: Measured tip [N, 3].
        offset: How far beside the cube the plan looks for it, [N, 2].
    """
    cube = np.array(state["cube_position"], dtype=np.float64)
    cube[:, :2] += offset
    ahead = cube[:, :2] - so101.PAN_AXIS
    outwards = ahead / np.maximum(so101.norm(ahead), 1e-6)[:, None]
    opening = np.asarray(state["gripper_opening"])
    around = so101.norm(cube - state["grasp_position"]) < AROUND
    return Grasp(tip, cube, outwards, opening, around, around & (opening < CLOSED))


def pick(grasp: Grasp) -> Hand:
    """Return the way to the cube: above it, down with the gripper open, and close."""
    wide = grasp.opening > WIDE
    gap = CUBE_SIZE / 2 + np.where(grasp.around, 0.0, SIDE_GAP)
    stand = np.empty_like(grasp.tip)
    stand[:, :2] = grasp.cube[:, :2] - grasp.outwards * gap[:, None]
    stand[:, 2] = GRASP_HEIGHT + grasp.cube[:, 2] - gripper.CUBE_HEIGHT
    above = grasp.tip[:, 2] - stand[:, 2]
    off = so101.norm(grasp.tip[:, :2] - stand[:, :2])
    closing = grasp.around & (above < LOW)
    # The way down is a cone: the lower, the nearer to its middle, and beside the cube only there.
    cone = np.minimum(BESIDE + CONE * (off - ALIGNED), HOVER)
    cone = np.where(wide, np.where(off < ALIGNED, 0.0, cone), HOVER)
    point = stand + np.where(closing, 0.0, cone)[:, None] * (0.0, 0.0, 1.0)
    # Low beside the cube the tip first goes up, so that it does not push the cube along.
    up = (above < TOP) & (off >= ALIGNED) & ~closing
    point[:, :2] = np.where(up[:, None], grasp.tip[:, :2], point[:, :2])
    return Hand(point, np.where(closing, SQUEEZE, OPEN), np.zeros_like(closing))


def lift(grasp: Grasp, height: Float) -> Hand:
    """Return the next point of a grasp that raises the cube's centre to ``height`` [N] in m."""
    way = pick(grasp)
    left = height - grasp.cube[:, 2]
    raised = grasp.tip.copy()
    raised[:, 2] += left
    hold = Hand(raised, np.full_like(height, SQUEEZE), np.abs(left) < LIFTED)
    return _where(grasp.gripped, hold, way)


def place(grasp: Grasp, goal: Float) -> Hand:
    """Return the next point of a grasp that sets the cube down at ``goal`` [N, 3] and leaves it.

    The cube is raised first, carried level above its place, lowered and let go.
    """
    left = goal - grasp.cube
    beside = so101.norm(left[:, :2])
    # Letting go may move the cube a little, which is no reason to take it again.
    near = beside < np.where(grasp.gripped, PLACED, LEFT_AT)
    there = near & (np.abs(left[:, 2]) < RESTING)
    lowers = beside < PLACED
    moves = lowers | (grasp.cube[:, 2] > CLEAR)
    height = np.where(lowers, goal[:, 2], CARRY)
    carried = grasp.tip.copy()
    carried[:, :2] += np.where(moves[:, None], left[:, :2], 0.0)
    carried[:, 2] += height - grasp.cube[:, 2]
    carry = Hand(carried, np.full_like(height, SQUEEZE), lowers)
    way = _where(grasp.gripped, carry, pick(grasp))
    return _where(there, leave(grasp), way)


def leave(grasp: Grasp) -> Hand:
    """Return the way from a cube that has been set down: open, then straight up."""
    free = grasp.opening > WIDE
    away = grasp.tip.copy()
    away[:, :2] = grasp.cube[:, :2] - grasp.outwards * (CUBE_SIZE / 2 + SIDE_GAP)
    away[:, 2] = grasp.cube[:, 2] + RETREAT
    point = np.where(free[:, None], away, grasp.tip)
    return Hand(point, np.full(len(free), OPEN), np.ones_like(free))


def _where(condition: BoolArray, first: Hand, second: Hand) -> Hand:
    return Hand(
        np.where(condition[:, None], first.tip, second.tip),
        np.where(condition, first.gripper, second.gripper),
        np.where(condition, first.calm, second.calm),
    )
