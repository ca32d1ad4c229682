"""What the tasks that grasp share: where the gripper's pads are, a cube to hold, and fields.

The *pads* are points on the insides of the fixed finger and of the moving jaw, 1 cm from their
ends; the *grasp point* lies midway between them. An object that is held is there.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from embodied.kinematics import Chain
from embodied.types import Array, Field
from sim import so101

Float = npt.NDArray[np.float64]

CUBE_SIZE = 0.025  # m, edge; at this width finger and jaw are parallel
CUBE_HEIGHT = CUBE_SIZE / 2  # m, of its centre when it lies on the table
CUBE_TURN = 0.3  # rad, largest turn of a cube at the start against the gripper that reaches for it
HOLD_DISTANCE = 0.015  # m, cube to grasp point; farther away it is not held
START_HEIGHT = (0.05, 0.09)  # m above the table, of the tip at the start

FIELDS: Mapping[str, Field] = {
    **{name: so101.FIELDS[name] for name in ("joint_position", "joint_velocity", "joint_target")},
    "grasp_position": Field(
        shape=(3,),
        unit="m",
        meaning=(
            "Position (x, y, z) of the grasp point, midway between the gripper's two fingers and "
            "1 cm from their ends: the centre of a cube that is held is there, within about "
            "0.01 m; z = 0 is the table's surface."
        ),
        frame="world",
    ),
    "gripper_opening": Field(
        shape=(),
        unit="m",
        meaning=(
            "Distance between the insides of the gripper's two fingers, measured 1 cm from their "
            "ends: about 0.006 when the gripper is closed on nothing, 0.025 when it is closed on a "
            "cube, and more than 0.035 when it is open; it grows by about 0.006 per 0.1 rad of the "
            "last joint."
        ),
    ),
}


class Pads:
    """Kinematics of the gripper's pads.

    Args:
        arm: The arm in its scene.
    """

    def __init__(self, arm: so101.Arm) -> None:
        self._finger = Chain(arm.model, site="finger_pad")
        self._jaw = Chain(arm.model, site="jaw_pad")

    def state(self, joint_position: Float) -> dict[str, Array]:
        """Return ``grasp_position`` [N, 3] and ``gripper_opening`` [N] in m for angles [N, 6]."""
        finger, jaw = self._finger.position(joint_position), self._jaw.position(joint_position)
        return {
            "grasp_position": (finger + jaw) / 2,
            "gripper_opening": so101.norm(jaw - finger),
        }


def cube_fields(name: str, what: str) -> dict[str, Field]:
    """Return the documented fields of a cube.

    Args:
        name: Prefix of the fields.
        what: How the text calls it, for example ``"the cube"``.
    """
    return {
        f"{name}_position": Field(
            shape=(3,),
            unit="m",
            meaning=(
                f"Position (x, y, z) of the centre of {what}, whose edge is {CUBE_SIZE} m; z is "
                f"{CUBE_HEIGHT} while it lies on the table."
            ),
            frame="world",
        ),
        f"{name}_velocity": Field(
            shape=(3,), unit="m/s", meaning=f"Velocity of the centre of {what}.", frame="world"
        ),
    }


def start_above_table(arm: so101.Arm, rng: np.random.Generator) -> Float:
    """Draw joint angles [6] with the gripper closed, pointing down, above the table."""
    x, y = so101.draw_on_table(rng)
    return arm.inverse.start((x, y, float(rng.uniform(*START_HEIGHT))))


def lying_cube(rng: np.random.Generator, place: tuple[float, float]) -> tuple[float, ...]:
    """Return a cube's position and quaternion (w, x, y, z), lying at ``place``, turned at random.

    Its sides stand within ``CUBE_TURN`` of how a gripper that comes with its roll joint at zero
    takes it: that joint opens the jaw away from the arm.
    """
    x, y = place
    ahead = np.arctan2(y - so101.PAN_AXIS[1], x - so101.PAN_AXIS[0])
    turn = (ahead + rng.uniform(-CUBE_TURN, CUBE_TURN)) / 2
    return (x, y, CUBE_HEIGHT, float(np.cos(turn)), 0.0, 0.0, float(np.sin(turn)))


def holds(state: Mapping[str, Array], name: str) -> Array:
    """Return bool [N]: the cube's centre is within ``HOLD_DISTANCE`` of the grasp point."""
    distance = so101.norm(state[f"{name}_position"] - state["grasp_position"])
    return np.asarray(distance <= HOLD_DISTANCE)


def reach_columns(state: Mapping[str, Array], name: str) -> tuple[Array, ...]:
    """Return columns of an observation, 16 in all, that tell how the gripper stands to a cube.

    The grasp point, the cube, the way from the one to the other (``way_columns``), the gripper's
    opening, and 1.0 where the cube is between the fingers.
    """
    grasp, cube = state["grasp_position"], state[f"{name}_position"]
    return (
        grasp,
        cube,
        *way_columns(cube - grasp),
        state["gripper_opening"][:, None],
        holds(state, name)[:, None].astype(np.float64),
    )


def way_columns(way: Float) -> tuple[Array, ...]:
    """Return vectors [N, 3], their unit directions [N, 3], and lengths, whole and level [N, 2]."""
    length = so101.norm(way)
    return (
        way,
        so101.direction(way, length),
        np.stack((length, so101.norm(way[:, :2])), axis=-1),
    )
