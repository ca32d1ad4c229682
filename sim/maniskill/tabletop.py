"""The six tasks in which a Panda arm acts on a table; success is ManiSkill's own.

The table's surface is at height 0; the robot's base stands at x = -0.615 and faces along x.
"""

from __future__ import annotations

from dataclasses import replace

from sim.maniskill.quantities import axis, body, grasped, number, panda, point, vector
from sim.maniskill.task import JOINT_ACTION, TOOL_ACTION, ManiSkillTask

CUBE = "cube (edges of 4 cm)"


def pick_cube() -> ManiSkillTask:
    """Bring a cube to a point in the air.

    Success: the cube's centre is within 2.5 cm of the goal and the arm is still.
    """
    quantities = {
        **panda(),
        **body("cube", CUBE, lambda env: env.cube),
        **point("goal", "Where the cube's centre should be.", lambda env: env.goal_site),
        **grasped("cube", lambda env: env.cube),
    }
    return ManiSkillTask(
        "maniskill_pick_cube",
        "PickCube-v1",
        "pick up the cube and hold it still at the goal",
        quantities,
        TOOL_ACTION,
        "pd_ee_delta_pos",
        max_steps=50,
        behaviour="maniskill_scripted",
    )


def stack_cube() -> ManiSkillTask:
    """Put a cube on another.

    Success: the red cube lies on the green one, at rest, and is not held.
    """
    quantities = {
        **panda(),
        **body("red_cube", f"red {CUBE}", lambda env: env.cubeA),
        **body("green_cube", f"green {CUBE}", lambda env: env.cubeB),
        **grasped("red cube", lambda env: env.cubeA),
    }
    return ManiSkillTask(
        "maniskill_stack_cube",
        "StackCube-v1",
        "stack the red cube on the green cube and let go of it",
        quantities,
        TOOL_ACTION,
        "pd_ee_delta_pos",
        max_steps=50,
    )


def push_cube() -> ManiSkillTask:
    """Push a cube away from the robot.

    Success: the cube's centre is less than 10 cm from the middle of the region, on the table.
    """
    task = _slide(
        "maniskill_push_cube",
        "PushCube-v1",
        "push the cube forwards into the goal region",
        "It lies in front of the cube's start, farther from the robot along x.",
    )
    return replace(task, behaviour="maniskill_scripted")


def pull_cube() -> ManiSkillTask:
    """Pull a cube towards the robot.

    Success: the cube's centre is less than 10 cm from the middle of the region.
    """
    return _slide(
        "maniskill_pull_cube",
        "PullCube-v1",
        "pull the cube back into the goal region",
        "It lies behind the cube's start, nearer to the robot along x.",
    )


def _slide(name: str, id: str, instruction: str, place: str) -> ManiSkillTask:
    meaning = f"Middle of the round goal region (radius 0.1 m) on the table. {place}"
    quantities = {
        **panda(),
        **body("cube", CUBE, lambda env: env.obj),
        **point("goal", meaning, lambda env: env.goal_region),
    }
    return ManiSkillTask(
        name, id, instruction, quantities, TOOL_ACTION, "pd_ee_delta_pos", max_steps=50
    )


def lift_peg() -> ManiSkillTask:
    """Stand a peg up.

    Success: the peg stands on the table, within about 0.08 rad of upright.
    """
    quantities = {
        **panda(),
        **body("peg", "peg (0.24 m long, 0.05 m wide)", lambda env: env.peg),
        "peg_axis": axis("Direction of the peg's long axis.", lambda env: env.peg.pose),
        **grasped("peg", lambda env: env.peg),
    }
    return ManiSkillTask(
        "maniskill_lift_peg",
        "LiftPegUpright-v1",
        "stand the peg upright on the table",
        quantities,
        JOINT_ACTION,
        "pd_joint_delta_pos",
        max_steps=50,
    )


def insert_peg() -> ManiSkillTask:
    """Put a peg into the hole of a box from the side.

    Success: the peg's head is within the hole and at most 1.5 cm short of its middle. Sizes of peg
    and hole differ between the environments.
    """
    quantities = {
        **panda(),
        **body("peg", "peg", lambda env: env.peg),
        "peg_axis": axis(
            "Direction of the peg's long axis, from its tail to its head.",
            lambda env: env.peg.pose,
        ),
        "peg_head_position": vector(
            "m", "Position of the middle of the peg's head.", lambda env: env.peg_head_pose.p
        ),
        "peg_half_length": number(
            "m",
            "Half of the peg's length; its head is that far from its centre.",
            lambda env: env.peg_half_sizes[:, 0],
        ),
        "peg_half_width": number(
            "m", "Half of the peg's width.", lambda env: env.peg_half_sizes[:, 1]
        ),
        "hole_position": vector(
            "m",
            "Middle of the hole, halfway through the box, to which the peg's head belongs.",
            lambda env: env.box_hole_pose.p,
        ),
        "hole_axis": axis(
            "Direction of the hole, in which the peg's head has to enter.",
            lambda env: env.box_hole_pose,
        ),
        "hole_half_width": number("m", "Half of the hole's width.", lambda env: env.box_hole_radii),
        **grasped("peg", lambda env: env.peg),
    }
    return ManiSkillTask(
        "maniskill_insert_peg",
        "PegInsertionSide-v1",
        "pick up the peg and insert its head into the hole of the box",
        quantities,
        JOINT_ACTION,
        "pd_joint_delta_pos",
        max_steps=100,
    )
