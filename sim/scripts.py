"""What the scripted behaviour does in each task: plans, and where tip and gripper should go.

A *plan* is what an episode goes for: the task's own goal, or another one that is drawn. Scripts
hold no state of their own: what they want follows from the plan and from what is measured, so a
cube that slips is simply grasped again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from embodied.errors import UserError
from embodied.types import Array, BoolArray, Task
from sim import grasping, motions, so101
from sim.gripper import CUBE_SIZE
from sim.tasks import lift, push, reach, stack

Float = npt.NDArray[np.float64]

TIP_HEIGHT = 0.02  # m, commanded while pushing; the soft arm sags below it
MISS = (0.03, 0.08)  # m, distances beside the cube at which a wrong plan looks for it
CALM = 0.1  # share of the noise that is left where a cube is held up, set down or let go
WRONG_GRASP = 0.5  # share of the wrong plans of a grasping task that miss the cube
LIFT = 0.090  # m, height of the cube's centre that a lift goes for
TOO_LOW = (0.02, 0.055)  # m, the same of a wrong one


class Begin(NamedTuple):
    """What plans are drawn from when episodes begin."""

    state: Mapping[str, Array]  # the task's named fields
    points: Float  # [N, 3] m, drawn over the table
    wrong: BoolArray  # [N], whether a plan has to go for something else than the task does
    rng: np.random.Generator  # for what else has to be drawn


class Wanted(NamedTuple):
    """Where the commanded tip should go, and with how much of its noise."""

    tip: Float  # [N, 3] m
    gripper: Float | None = None  # [N] rad, where it is used
    noise: Float | float = 1.0  # share of the episode's noise, [N] where it differs


class Script(Protocol):
    """One task's plans and motions, for all environments at once."""

    arm: so101.Arm
    heights: tuple[float, float]  # m, between which points over the table are drawn
    grasps: bool  # whether the gripper is used; otherwise it stays closed

    def plan(self, begin: Begin) -> Float:
        """Draw plans [N, P]."""
        ...

    def wanted(self, state: Mapping[str, Array], tip: Float, plan: Float) -> Wanted:
        """Return where to go from the commanded tip [N, 3]."""
        ...


class ReachScript:
    """Straight to the target; a plan is a point."""

    heights = reach.HEIGHT
    grasps = False

    def __init__(self, arm: so101.Arm) -> None:
        self.arm = arm

    def plan(self, begin: Begin) -> Float:
        """Return the target, or any point where it should be wrong, [N, 3]."""
        target = np.asarray(begin.state["target_position"], dtype=np.float64)
        return np.where(begin.wrong[:, None], begin.points, target)

    def wanted(self, state: Mapping[str, Array], tip: Float, plan: Float) -> Wanted:
        """Return the plan."""
        return Wanted(plan)


class PushScript(ReachScript):
    """Around the cube, then against it; a plan is a point to push it to."""

    heights = (TIP_HEIGHT, TIP_HEIGHT)

    def wanted(self, state: Mapping[str, Array], tip: Float, plan: Float) -> Wanted:
        """Return the next point of a push."""
        point = np.full_like(tip, TIP_HEIGHT)
        cube = state["cube_position"]
        point[:, :2] = motions.push_tip(tip[:, :2], cube[:, :2], plan[:, :2])
        return Wanted(point)


class GraspScript:
    """What lifting and stacking share; the first two columns of a plan say where the cube is."""

    heights = (0.015, 0.09)
    grasps = True

    def __init__(self, arm: so101.Arm) -> None:
        self.arm = arm

    def perceive(self, state: Mapping[str, Array], plan: Float) -> grasping.Grasp:
        """Return what the next step of a grasp is decided by."""
        tip = self.arm.tip_position(np.asarray(state["joint_position"], dtype=np.float64))
        return grasping.perceive(state, tip, plan[:, :2])

    def command(self, grasp: grasping.Grasp, tip: Float, hand: grasping.Hand) -> Wanted:
        """Return what to command so that the soft arm comes to where it is wanted."""
        point = motions.against_sag(hand.tip, tip, grasp.tip)
        return Wanted(point, hand.gripper, np.where(hand.calm, CALM, 1.0))


def _misses(begin: Begin) -> tuple[BoolArray, Float]:
    """Draw which wrong plans miss the cube, bool [N], and where they look for it, [N, 2] m."""
    rng, rows = begin.rng, len(begin.wrong)
    missed = begin.wrong & (rng.random(rows) < WRONG_GRASP)
    distance, angle = rng.uniform(*MISS, rows), rng.uniform(-np.pi, np.pi, rows)
    offset = distance[:, None] * np.stack((np.cos(angle), np.sin(angle)), axis=1)
    return missed, np.where(missed[:, None], offset, 0.0)


class LiftScript(GraspScript):
    """Grasp and raise; a plan is an offset beside the cube and a height of its centre, in m."""

    def plan(self, begin: Begin) -> Float:
        """Return plans [N, 3]; a wrong one misses the cube, or raises it too little."""
        missed, offset = _misses(begin)
        low = begin.rng.uniform(*TOO_LOW, len(missed))
        height = np.where(begin.wrong & ~missed, low, LIFT)
        return np.concatenate((offset, height[:, None]), axis=1)

    def wanted(self, state: Mapping[str, Array], tip: Float, plan: Float) -> Wanted:
        """Return the next point of a lift."""
        grasp = self.perceive(state, plan)
        return self.command(grasp, tip, grasping.lift(grasp, plan[:, 2]))


class StackScript(GraspScript):
    """Grasp, carry, set down, let go; a plan is an offset beside the cube and one from the base."""

    def plan(self, begin: Begin) -> Float:
        """Return plans [N, 5]; a wrong one misses the cube, or sets it down on the table."""
        missed, offset = _misses(begin)
        beside = begin.points - begin.state["base_cube_position"]
        beside[:, 2] = 0.0
        place = np.where((begin.wrong & ~missed)[:, None], beside, (0.0, 0.0, CUBE_SIZE))
        return np.concatenate((offset, place), axis=1)

    def wanted(self, state: Mapping[str, Array], tip: Float, plan: Float) -> Wanted:
        """Return the next point of a stack."""
        grasp = self.perceive(state, plan)
        goal = state["base_cube_position"] + plan[:, 2:]
        return self.command(grasp, tip, grasping.place(grasp, goal))


def script_of(task: Task) -> Script:
    """Return the script of one of the SO-101 tasks, or of a task made from one of them.

    Raises:
        UserError: There is none.
    """
    if isinstance(task, reach.ReachTask):
        return ReachScript(task.arm)
    if isinstance(task, push.PushTask):
        return PushScript(task.arm)
    if isinstance(task, lift.LiftTask):
        return LiftScript(task.arm)
    if isinstance(task, stack.StackTask):
        return StackScript(task.arm)
    raise UserError("the scripted behaviour knows the SO-101 tasks alone; use behaviour=random")
