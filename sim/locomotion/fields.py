"""The documented quantities of a walking robot's torso: what a prompt shows and rewards read."""

from __future__ import annotations

from collections.abc import Mapping

from embodied.types import Field

# Of robots that move in a vertical plane.
PLANAR_FIELDS: Mapping[str, Field] = {
    "torso_position": Field(
        shape=(3,),
        unit="m",
        meaning=(
            "Position (x, y, z) of the middle of the torso: x grows forwards, y stays 0, z is the "
            "height above the floor."
        ),
        frame="world",
    ),
    "torso_velocity": Field(
        shape=(3,),
        unit="m/s",
        meaning="Velocity (x, y, z) of the middle of the torso; x is forwards, y stays 0.",
        frame="world",
    ),
    "torso_pitch": Field(
        shape=(),
        unit="rad",
        meaning=(
            "How far the torso has turned forwards (top towards +x) from upright; it is counted on "
            "without wrapping, so a whole turn forwards adds 2 pi and one backwards takes it off."
        ),
    ),
    "torso_pitch_velocity": Field(
        shape=(),
        unit="rad/s",
        meaning="Rate of torso_pitch; positive while the torso turns forwards.",
    ),
}
# Of robots that move freely.
SPATIAL_FIELDS: Mapping[str, Field] = {
    "torso_position": Field(
        shape=(3,),
        unit="m",
        meaning=(
            "Position (x, y, z) of the middle of the torso: x grows forwards, y to the left, z is "
            "the height above the floor."
        ),
        frame="world",
    ),
    "torso_velocity": Field(
        shape=(3,),
        unit="m/s",
        meaning="Velocity (x, y, z) of the middle of the torso; x is forwards, y to the left.",
        frame="world",
    ),
    "torso_forward": Field(
        shape=(3,),
        unit="1",
        meaning="Unit vector along the torso's own front; (1, 0, 0) when it faces forwards.",
        frame="world",
    ),
    "torso_angular_velocity": Field(
        shape=(3,),
        unit="rad/s",
        meaning="Angular velocity (x, y, z) of the torso.",
        frame="world",
    ),
}
# Of every robot.
UP = Field(
    shape=(),
    unit="1",
    meaning=(
        "Vertical component of the torso's own upward axis: 1 upright, 0 on its side, -1 upside "
        "down."
    ),
)
