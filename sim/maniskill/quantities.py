"""What the tasks document, each with how it is read from ManiSkill: batched torch tensors.

Readers take ManiSkill's environment (``mani_skill.envs.sapien_env.BaseEnv``) and give float32
``[N, *shape]`` on the simulator's device. Quaternions are ``(w, x, y, z)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from embodied.types import Array, Field

Read = Callable[[Any], Any]


@dataclass(frozen=True)
class Quantity:
    """A documented field and its reader."""

    field: Field
    read: Callable[[Any], Array]  # ManiSkill's environment -> [N, *field.shape]


def measure(quantities: Mapping[str, Quantity], env: Any) -> dict[str, Array]:
    """Return every quantity of ManiSkill's environment, float32 ``[N, *shape]``."""
    return {name: quantity.read(env).float() for name, quantity in quantities.items()}


def vector(unit: str, meaning: str, read: Read) -> Quantity:
    """Return a quantity of three numbers in the world frame."""
    return Quantity(Field((3,), unit, meaning, "world"), read)


def number(unit: str, meaning: str, read: Read) -> Quantity:
    """Return a quantity of one number."""
    return Quantity(Field((), unit, meaning), read)


def orientation(meaning: str, read: Read) -> Quantity:
    """Return a unit quaternion, whose real part comes first."""
    text = f"{meaning}, as a unit quaternion (w, x, y, z)."
    return Quantity(Field((4,), "1", text, "world"), read)


def body(name: str, what: str, find: Read) -> dict[str, Quantity]:
    """Return pose and velocity of a rigid body.

    Args:
        name: Beginning of the fields' names.
        what: What it is, to follow "of the".
        find: ManiSkill's environment -> its ``Actor``.
    """
    return {
        f"{name}_position": vector(
            "m", f"Position of the centre of the {what}.", lambda env: find(env).pose.p
        ),
        f"{name}_quaternion": orientation(
            f"Orientation of the {what}", lambda env: find(env).pose.q
        ),
        f"{name}_velocity": vector(
            "m/s", f"Velocity of the centre of the {what}.", lambda env: find(env).linear_velocity
        ),
        f"{name}_angular_velocity": vector(
            "rad/s", f"Angular velocity of the {what}.", lambda env: find(env).angular_velocity
        ),
    }


def point(name: str, meaning: str, find: Read) -> dict[str, Quantity]:
    """Return the position of something that only marks a place."""
    return {f"{name}_position": vector("m", meaning, lambda env: find(env).pose.p)}


def grasped(what: str, find: Read) -> dict[str, Quantity]:
    """Return whether the gripper holds a body, as the contact forces on both fingers tell."""
    meaning = f"1 where both fingers press on the {what}, 0 elsewhere."
    field = Field((), "1", meaning, low=(0.0,), high=(1.0,))
    return {"grasped": Quantity(field, lambda env: env.agent.is_grasping(find(env)))}


def axis(meaning: str, find: Read) -> Quantity:
    """Return the x axis of a pose as a unit vector in the world frame."""
    field = Field((3,), "1", meaning, "world")
    return Quantity(field, lambda env: find(env).to_transformation_matrix()[..., :3, 0])


def panda() -> dict[str, Quantity]:
    """Return the Franka Panda arm with its parallel gripper: joints, tool and fingers."""
    return _arm(slice(0, 7), slice(7, 9), 0.08, "table's top")


def fetch() -> dict[str, Quantity]:
    """Return the Fetch robot: base, torso, arm, tool and fingers.

    Its joints lie in the order base x, base y, base heading, torso, head pan, shoulder pan, head
    tilt, six more of the arm, fingers.
    """

    def joints(*columns: int) -> Read:
        return lambda env: env.agent.robot.get_qpos()[:, list(columns)]

    return {
        "base_position": Quantity(
            Field((2,), "m", "Position (x, y) of the robot's base on the floor.", "world"),
            joints(0, 1),
        ),
        "base_heading": number(
            "rad",
            "Direction that the base faces, from the world's x axis towards its y axis.",
            lambda env: env.agent.robot.get_qpos()[:, 2],
        ),
        "base_velocity": Quantity(
            Field((2,), "m/s", "Velocity (x, y) of the robot's base.", "world"),
            lambda env: env.agent.robot.get_qvel()[:, :2],
        ),
        "torso_height": number(
            "m",
            "How far the torso is raised above its lowest position.",
            lambda env: env.agent.robot.get_qpos()[:, 3],
        ),
        **_arm([5, 7, 8, 9, 10, 11, 12], slice(13, 15), 0.1, "floor"),
    }


def _arm(arm: Any, fingers: slice, widest: float, ground: str) -> dict[str, Quantity]:
    opening = Field(
        (), "m", "Distance between the gripper's two fingers.", low=(0.0,), high=(widest,)
    )
    return {
        "joint_position": Quantity(
            Field((7,), "rad", "Angles of the arm's joints, from the shoulder to the wrist."),
            lambda env: env.agent.robot.get_qpos()[:, arm],
        ),
        "joint_velocity": Quantity(
            Field((7,), "rad/s", "Angular velocities of the arm's joints."),
            lambda env: env.agent.robot.get_qvel()[:, arm],
        ),
        "gripper_opening": Quantity(
            opening, lambda env: env.agent.robot.get_qpos()[:, fingers].sum(-1)
        ),
        "tool_position": vector(
            "m",
            "Position of the tool centre point, between the tips of the two fingers; the "
            f"{ground} is at height 0.",
            lambda env: env.agent.tcp.pose.p,
        ),
        "tool_quaternion": orientation(
            "Orientation of the gripper", lambda env: env.agent.tcp.pose.q
        ),
    }
