"""The two tasks with articulated objects, which need assets that ManiSkill downloads.

Success is ManiSkill's own.
"""

from __future__ import annotations

from typing import Any

from embodied.types import Array
from sim.maniskill.quantities import axis, fetch, number, panda, vector
from sim.maniskill.task import FETCH_ACTION, JOINT_ACTION, ManiSkillTask


def turn_faucet() -> ManiSkillTask:
    """Turn on a faucet; every environment has another one.

    Success: the switch is turned beyond nine tenths of its range. ManiSkill has no dense reward
    for it: the environment gives the sparse one.
    """

    def switch(env: Any) -> Any:
        return env.target_switch_link

    quantities = {
        **panda(),
        "switch_position": vector(
            "m",
            "Position of the switch's centre of mass.",
            lambda env: (switch(env).pose * switch(env).cmass_local_pose).p,
        ),
        "switch_axis": axis(
            "Axis about which the switch turns: its angle grows with a right-handed turn.",
            lambda env: switch(env).joint.get_global_pose(),
        ),
        "switch_angle": number("rad", "Angle of the switch.", lambda env: switch(env).joint.qpos),
        "switch_angular_velocity": number(
            "rad/s", "How fast the switch's angle grows.", lambda env: switch(env).joint.qvel
        ),
        "switch_start_angle": number(
            "rad", "Angle of the closed switch, its smallest one.", lambda env: env.init_angle
        ),
        "switch_goal_angle": number(
            "rad", "Angle beyond which the switch should be turned.", lambda env: env.target_angle
        ),
    }
    return ManiSkillTask(
        "maniskill_turn_faucet",
        "TurnFaucet-v1",
        "turn on the faucet by turning its switch",
        quantities,
        JOINT_ACTION,
        "pd_joint_delta_pos",
        max_steps=200,
        reward="sparse",
        begins_alone=False,
    )


def open_drawer() -> ManiSkillTask:
    """Drive to a cabinet and open one of its drawers; every environment has another cabinet.

    Success: the drawer is open by three quarters of its range and slow.
    """

    def drawer(env: Any) -> Any:
        return env.handle_link.joint

    def limit(side: int) -> Any:
        def read(env: Any) -> Array:
            return drawer(env).limits[..., side].reshape(-1)

        return read

    quantities = {
        **fetch(),
        "handle_position": vector(
            "m", "Position of the middle of the drawer's handle.", _handle_position
        ),
        "drawer_velocity": vector(
            "m/s", "Velocity of the drawer.", lambda env: env.handle_link.linear_velocity
        ),
        "drawer_opening": number(
            "m", "How far the drawer is pulled out.", lambda env: drawer(env).qpos
        ),
        "drawer_opening_low": number(
            "m", "Smallest opening of the drawer, when it is closed.", limit(0)
        ),
        "drawer_opening_high": number("m", "Largest opening that the drawer has.", limit(1)),
    }
    return ManiSkillTask(
        "maniskill_open_drawer",
        "OpenCabinetDrawer-v1",
        "drive to the cabinet and pull the drawer open by its handle",
        quantities,
        FETCH_ACTION,
        "pd_joint_delta_pos",
        max_steps=100,
    )


def _handle_position(env: Any) -> Array:
    return env.handle_link_positions()
