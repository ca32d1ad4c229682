"""How scenes look: colours and where the cameras are, drawn apart for training and for tests.

What learns to see is trained on ``TRAINING`` looks and judged on ``HELD_OUT`` ones: hues, and how
far a camera is moved, lie in ranges that do not overlap.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Literal

import numpy as np

Colour = tuple[float, float, float]  # red, green, blue, 0 to 1
Split = Literal["training", "held_out"]
# The circle of hues is cut into twelve parts; every third one is held out.
PARTS, HELD_OUT_PART = 12, 2
MOVED = {
    "training": (0.0, 0.03),
    "held_out": (0.03, 0.045),
}  # m, a camera's distance from its place


@dataclass(frozen=True)
class Look:
    """Colours of a scene's parts and how its cameras are moved.

    Attributes:
        colours: Part -> colour; parts that are not named keep the scene's own.
        moved: Where every camera is moved to from its place, in m along x, y, z.
        light: Factor on the lights.
    """

    colours: dict[str, Colour]
    moved: tuple[float, float, float] = (0.0, 0.0, 0.0)
    light: float = 1.0


def draw_hue(rng: np.random.Generator, split: Split) -> float:
    """Draw a hue, 0 to 1, of the parts of the circle that belong to the split."""
    held_out = np.arange(PARTS) % 3 == HELD_OUT_PART
    parts = np.flatnonzero(held_out if split == "held_out" else ~held_out)
    return float((rng.choice(parts) + rng.uniform()) / PARTS)


def draw_colour(
    rng: np.random.Generator,
    split: Split,
    saturation: tuple[float, float],
    value: tuple[float, float],
) -> Colour:
    """Draw a colour of a split's hues, with saturation and value in their ranges."""
    return colorsys.hsv_to_rgb(
        draw_hue(rng, split), float(rng.uniform(*saturation)), float(rng.uniform(*value))
    )


def draw_move(rng: np.random.Generator, split: Split) -> tuple[float, float, float]:
    """Draw where a camera is moved to: any direction, a distance of the split's range, in m."""
    direction = rng.normal(size=3)
    low, high = MOVED[split]
    moved = direction / np.linalg.norm(direction) * rng.uniform(low, high)
    return float(moved[0]), float(moved[1]), float(moved[2])


def draw_arm_look(rng: np.random.Generator, split: Split) -> Look:
    """Draw a look of the SO-101's scenes: a pale table, a saturated target, cube and arm."""
    vivid, pale = ((0.6, 1.0), (0.55, 0.95)), ((0.0, 0.25), (0.6, 0.95))
    ranges = {
        "table": pale,
        "printed": ((0.2, 1.0), (0.5, 1.0)),
        "jaw": ((0.4, 1.0), (0.5, 1.0)),
        "target": vivid,
        "cube": vivid,
    }
    colours = {name: draw_colour(rng, split, *bounds) for name, bounds in ranges.items()}
    return Look(colours, draw_move(rng, split), float(rng.uniform(0.8, 1.2)))
