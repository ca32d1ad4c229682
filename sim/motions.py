"""Where scripted motions want the tip next: pure functions over all environments at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sim import so101

Float = npt.NDArray[np.float64]

STEP = 0.03  # m, how far the wanted tip moves in one control step
BEHIND = 0.048  # m from the cube's centre, where a push is prepared; the corners are at 0.021
CONTACT = -0.02  # m along the push: where the fingers touch the cube
ALIGNED = 0.010  # m off the line through cube and goal at which a push may begin
ARRIVED = 0.016  # m between cube and goal at which the push ends
MEASURED = 0.75  # share of the lag behind the command that is measured, not guessed
LAG = 0.02  # m, largest lag of the arm behind its command that is made up for
SAG_BACK = 0.006  # m, by which the tip hangs back at a typical reach
SAG_DOWN = 0.033  # m per m from the pan axis, by which it hangs down
RADII = (0.082, 0.268)  # m from the pan axis that the tip keeps to


def push_tip(tip: Float, cube: Float, goal: Float) -> Float:
    """Return the wanted tip xy [N, 2] of a push, all arguments [N, 2] in the world frame.

    The tip circles the cube at a distance until it stands behind it as seen from the goal, then
    pushes along the line to the goal, correcting sideways, ever slower, and holds when it is there.
    """
    left = goal - cube
    distance = so101.norm(left)
    ahead = left / np.maximum(distance, 1e-6)[:, None]
    side = np.stack((-ahead[:, 1], ahead[:, 0]), axis=1)
    offset = tip - cube
    along, across = (offset * ahead).sum(axis=1), (offset * side).sum(axis=1)

    speed = np.clip(0.45 * distance, 0.006, 0.022)
    # In contact the tip leads by its speed; before that it closes the gap in one step.
    forward = np.minimum(along + STEP, np.maximum(along, CONTACT) + speed)
    pushing = cube + ahead * forward[:, None] + side * (0.3 * across)[:, None]
    ready = (np.abs(across) < ALIGNED + 0.15 * np.maximum(CONTACT - along, 0)) & (along < 0)

    wanted = np.where(ready[:, None], pushing, _circle(cube, offset, ahead))
    return np.where((distance < ARRIVED)[:, None], tip, wanted)


def _circle(cube: Float, offset: Float, ahead: Float) -> Float:
    """Return the next point [N, 2] on the way around the cube to behind it."""
    radius = np.maximum(so101.norm(offset), 1e-6)
    angle = np.arctan2(offset[:, 1], offset[:, 0])
    turn = np.arctan2(-ahead[:, 1], -ahead[:, 0]) - angle
    turn = np.arctan2(np.sin(turn), np.cos(turn))
    # Too close to the cube the tip first backs off, so that it does not drag the cube along.
    turn = np.where(radius < BEHIND - 0.01, 0.0, np.clip(turn, -0.6, 0.6))
    around = angle + turn
    return cube + BEHIND * np.stack((np.cos(around), np.sin(around)), axis=1)


def step_towards(tip: Float, wanted: Float) -> Float:
    """Return points [N, 3] at most ``STEP`` from the tip towards what is wanted, within reach."""
    move = wanted - tip
    length = np.maximum(so101.norm(move), 1e-9)
    point = tip + move * np.minimum(1.0, STEP / length)[:, None]
    offset = point[:, :2] - so101.PAN_AXIS
    radius = np.maximum(so101.norm(offset), 1e-9)
    point[:, :2] = so101.PAN_AXIS + offset * (np.clip(radius, *RADII) / radius)[:, None]
    return point


def against_sag(wanted: Float, tip: Float, measured: Float) -> Float:
    """Return where to command the tip [N, 3] so that the soft arm holds it where it is wanted.

    The arm hangs up to 1 cm below and 7 mm behind its command. A part of the measured lag is added
    to a guess of the rest: all of it would swing.

    Args:
        wanted: Where the tip should come to be, [N, 3] m.
        tip: Where it is commanded to be now.
        measured: Where it is.
    """
    offset = wanted[:, :2] - so101.PAN_AXIS
    radius = np.maximum(so101.norm(offset), 1e-6)
    lag = tip - measured
    length = np.maximum(so101.norm(lag), 1e-9)
    point = wanted + MEASURED * lag * np.minimum(1.0, LAG / length)[:, None]
    point[:, :2] += (1 - MEASURED) * SAG_BACK * offset / radius[:, None]
    point[:, 2] += (1 - MEASURED) * SAG_DOWN * radius
    return point


def joint_change(
    arm: so101.Arm, joint_target: Float, point: Float, gripper: Float | None = None
) -> Float:
    """Return the action [N, 6] that commands the tip to points [N, 3], as far as one step goes.

    All joints are slowed alike, so that the tip stays on its way. The wrist's roll goes to zero;
    so does the gripper, fingers closed, unless its own angle [N] is given, which it goes to as fast
    as it can.
    """
    change = -joint_target
    change[:, :4] += arm.inverse(point)
    if gripper is not None:
        change[:, 5] = 0.0
    largest = np.abs(change).max(axis=1, keepdims=True)
    change *= np.minimum(1.0, so101.ACTION_LIMIT / np.maximum(largest, 1e-9))
    if gripper is not None:
        turn = gripper - joint_target[:, 5]
        change[:, 5] = np.clip(turn, -so101.ACTION_LIMIT, so101.ACTION_LIMIT)
    return change
