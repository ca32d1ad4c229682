"""What every task on the SO-101 arm shares: joints, limits, tip kinematics and documented fields.

World frame: the arm's base is at the origin, x points forward over the table, y to the arm's left,
z up; the table's surface is z = 0. The *tip* is the point between the closed gripper's fingertips.
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embodied.kinematics import Chain
from embodied.types import Field

Float = npt.NDArray[np.float64]

ASSETS = Path(__file__).parent / "assets"
JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
JOINT_LOW = (-1.91986, -1.74533, -1.69, -1.65806, -2.74385, -0.174533)  # rad
JOINT_HIGH = (1.91986, 1.74533, 1.69, 1.65806, 2.84121, 1.745329)  # rad
ACTION_LIMIT = 0.15  # rad that one control step may move a joint's target
CONTROL_HZ = 10.0
MAX_STEPS = 50

PAN_AXIS = (0.0388353, 0.0)  # m, x and y of the axis that shoulder_pan turns about
RADIUS = (0.13, 0.22)  # m, distances from the pan axis at which tasks place things
AZIMUTH = 0.8  # rad, largest angle to the left or right of straight ahead

_LOW, _HIGH = np.array(JOINT_LOW), np.array(JOINT_HIGH)

ACTION = Field(
    shape=(len(JOINTS),),
    unit="rad",
    meaning=(
        "Change of each joint's commanded target in one control step, added to the last commanded "
        "target, which is then clipped to the joint's range; joints in the order "
        f"{', '.join(JOINTS)}."
    ),
    low=(-ACTION_LIMIT,) * len(JOINTS),
    high=(ACTION_LIMIT,) * len(JOINTS),
)

FIELDS: dict[str, Field] = {
    "joint_position": Field(
        shape=(len(JOINTS),),
        unit="rad",
        meaning=(
            f"Measured joint angles, in the order {', '.join(JOINTS)}; the gripper is closed at 0 "
            "and opens with growing angle."
        ),
        low=JOINT_LOW,
        high=JOINT_HIGH,
    ),
    "joint_velocity": Field(
        shape=(len(JOINTS),),
        unit="rad/s",
        meaning="Measured joint velocities, in the same order as joint_position.",
    ),
    "joint_target": Field(
        shape=(len(JOINTS),),
        unit="rad",
        meaning=(
            "Last commanded joint angles, in the same order as joint_position; the servos are "
            "soft, so the joints lag behind and sag a little below them."
        ),
        low=JOINT_LOW,
        high=JOINT_HIGH,
    ),
    "tip_position": Field(
        shape=(3,),
        unit="m",
        meaning=(
            "Position (x, y, z) of the gripper tip, the point between the closed fingertips; "
            "z = 0 is the table's surface."
        ),
        frame="world",
    ),
}


def norm(vector: Float) -> Float:
    """Return the Euclidean length [...] of vectors [..., K], summed in a fixed order."""
    return np.asarray(np.sqrt(np.add.reduce(vector * vector, axis=-1)))


def direction(vector: Float, length: Float) -> Float:
    """Return vectors [..., K] divided by their length [...]; it fades to zero within 1 mm."""
    return np.asarray(vector / np.maximum(length, 1e-3)[..., None])


def polar(radius: Float, azimuth: Float) -> tuple[Float, Float]:
    """Return world x and y [N] in metres of points given around the pan axis."""
    return PAN_AXIS[0] + radius * np.cos(azimuth), PAN_AXIS[1] + radius * np.sin(azimuth)


def draw_on_table(rng: np.random.Generator) -> tuple[float, float]:
    """Draw x and y in metres of a point that the downward gripper reaches."""
    # Plain floats: every reset draws a dozen of them, and NumPy's scalars are slow.
    first, second = rng.random(2).tolist()
    radius = RADIUS[0] + (RADIUS[1] - RADIUS[0]) * first
    azimuth = AZIMUTH * (2 * second - 1)
    return PAN_AXIS[0] + radius * math.cos(azimuth), PAN_AXIS[1] + radius * math.sin(azimuth)


def next_target(joint_target: Float, action: Float) -> Float:
    """Return the joint target [N, 6] that ``action`` commands, clipped to the joint ranges."""
    return np.asarray(np.minimum(np.maximum(joint_target + action, _LOW), _HIGH))


class Arm:
    """Kinematics of the arm in a scene whose first joints are the arm's, in order.

    Args:
        scene: MJCF file.
    """

    def __init__(self, scene: Path) -> None:
        import mujoco

        self.model: Any = mujoco.MjModel.from_xml_path(str(scene))
        self._tip = Chain(self.model, site="gripperframe")

    def tip_position(self, joint_position: Float) -> Float:
        """Return the tip's world position [N, 3] in m for joint angles [N, 6]."""
        return self._tip.position(joint_position)

    def tip_speed(self, joint_position: Float, joint_velocity: Float) -> Float:
        """Return the tip's speed [N] in m/s."""
        return norm(self._tip.velocity(joint_position, joint_velocity))

    @cached_property
    def inverse(self) -> InverseTable:
        """Inverse kinematics with the gripper pointing down, made when first used."""
        return InverseTable(self._tip)


class InverseTable:
    """Joint angles that put the tip at a point with the gripper pointing down, from tables.

    The arm is planar but for its pan joint, so lift, elbow and wrist depend on the distance from
    the pan axis and the height alone. They are solved once on a grid by Newton's method and then
    interpolated; between grid points the tip is off by less than 0.5 mm. The gripper is straight
    down near the table and leans outwards above 3 cm and beyond 23 cm, where the wrist could not
    bend far enough. Points outside the grid are served by its nearest edge.
    """

    radii = np.linspace(0.08, 0.27, 39)  # m from the pan axis
    heights = np.linspace(0.0, 0.13, 14)  # m above the table

    def __init__(self, tip: Chain) -> None:
        radius, height = (grid.ravel() for grid in np.meshgrid(self.radii, self.heights))
        joints = np.zeros((len(radius), len(JOINTS)))
        joints[:, 1:4] = (0.0, 0.0, 1.4)
        for _ in range(30):
            error = _down_error(tip, joints, radius, height)
            slope = np.stack(
                [
                    (_down_error(tip, joints + step, radius, height) - error) / 1e-6
                    for step in np.eye(len(JOINTS))[1:4] * 1e-6
                ],
                axis=-1,
            )
            step = np.linalg.solve(slope, error[..., None])[..., 0]
            joints[:, 1:4] -= np.clip(step, -0.3, 0.3)
        x, y = (tip.position(joints)[:, :2] - PAN_AXIS).T
        table = np.concatenate([np.arctan2(y, x)[:, None], joints[:, 1:4]], axis=1)
        self._table = table.reshape(len(self.heights), len(self.radii), 4)
        self.error = np.abs(_down_error(tip, joints, radius, height)).max()

    def __call__(self, point: Float) -> Float:
        """Return pan, lift, elbow and wrist [N, 4] in rad for tip positions [N, 3] in m."""
        offset = point[:, :2] - PAN_AXIS
        column, right = _cell(norm(offset), self.radii)
        row, above = _cell(point[:, 2], self.heights)
        table = self._table
        low = table[row, column] * (1 - right) + table[row, column + 1] * right
        high = table[row + 1, column] * (1 - right) + table[row + 1, column + 1] * right
        joints = low * (1 - above) + high * above
        # The pan axis points down: a positive angle turns the arm to its right.
        joints[:, 0] -= np.arctan2(offset[:, 1], offset[:, 0])
        return joints

    def start(self, point: tuple[float, float, float]) -> Float:
        """Return all six joint angles [6] that put the tip of the closed gripper there."""
        joints = np.zeros(len(JOINTS))
        joints[:4] = self(np.array([point]))[0]
        return joints


def _down_error(tip: Chain, joints: Float, radius: Float, height: Float) -> Float:
    """Return [N, 3]: errors of radius and height in m, and of the sine of the gripper's lean."""
    position, rotation = tip.pose(joints)
    offset = position[:, :2] - PAN_AXIS
    tilt = np.clip(np.maximum((height - 0.03) / 0.12, (radius - 0.23) / 0.10), 0.0, 0.8)
    # The site's x axis runs along the fingers.
    return np.stack(
        [norm(offset) - radius, position[:, 2] - height, rotation[:, 0, 0] - tilt],
        axis=-1,
    )


def _cell(value: Float, grid: Float) -> tuple[npt.NDArray[np.intp], Float]:
    place = np.clip((value - grid[0]) / (grid[1] - grid[0]), 0, len(grid) - 1)
    index = np.minimum(place.astype(np.intp), len(grid) - 2)
    return index, (place - index)[:, None]
