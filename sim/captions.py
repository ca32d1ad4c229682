"""Sentences that are true of a state, made from the state: what the embedded CLIP learns from.

A caption is about one topic, a number of the state, and true where that number lies between its
bounds. The distance of a state to those bounds tells how wrong the caption is of it, so that what
learns from captions can learn more than true and false.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from embodied.types import Array

INF = float("inf")


@dataclass(frozen=True)
class Topic:
    """A number of a state that captions are about.

    Attributes:
        measure: Named states [N] -> the number [N], in degrees or centimetres.
        scale: How far off a caption may be before it is clearly wrong.
    """

    measure: Callable[[Mapping[str, Array]], Array]
    scale: float


@dataclass(frozen=True)
class Caption:
    """A sentence that is true where its topic lies between ``low`` and ``high``, both included."""

    text: str
    topic: str
    low: float
    high: float

    def error(self, value: Array) -> Array:
        """Return how far values [N] of the topic are from making it true, 0 where they do."""
        return np.maximum(np.maximum(self.low - value, value - self.high), 0.0)


def _angle(state: Mapping[str, Array]) -> Array:
    return np.degrees(state["pole_angle"])


def _distance(first: str, second: str) -> Callable[[Mapping[str, Array]], Array]:
    def measure(state: Mapping[str, Array]) -> Array:
        return 100 * np.linalg.norm(np.asarray(state[first]) - np.asarray(state[second]), axis=-1)

    return measure


TOPICS: Mapping[str, Mapping[str, Topic]] = {
    "cartpole": {"angle": Topic(_angle, 3.0)},
    "reach": {"tip to target": Topic(_distance("tip_position", "target_position"), 2.0)},
    "push": {
        "cube to target": Topic(_distance("cube_position", "target_position"), 2.0),
        "tip to cube": Topic(_distance("tip_position", "cube_position"), 2.0),
    },
}


def captions(task: str) -> list[Caption]:
    """Return every caption of a task's scene."""
    return {"cartpole": _cartpole, "reach": _reach, "push": _push}[task]()


def _cartpole() -> list[Caption]:
    upright = (
        "balance the pole upright on the cart",
        "the pole stands upright on the cart",
        "a pole balanced upright",
        "keep the pole upright",
        "hold the pole straight up",
    )
    found = [Caption(text, "angle", -2.0, 2.0) for text in upright]
    leaning = (
        (2.0, 6.0, ("the pole leans slightly to the {}", "a pole tilted a little to the {}")),
        (6.0, 15.0, ("the pole leans to the {}", "tilt the pole to the {}")),
        (15.0, 28.0, ("the pole leans far to the {}", "a pole tilted far to the {}")),
        (28.0, 40.0, ("the pole has fallen to the {}", "let the pole fall to the {}")),
    )
    for sign, side in ((1, "right"), (-1, "left")):
        for low, high, texts in leaning:
            bounds = sorted((sign * low, sign * high))
            found += [Caption(text.format(side), "angle", *bounds) for text in texts]
        for degrees in range(1, 31):
            text = f"the pole leans {degrees} degrees to the {side}"
            bounds = sorted((sign * (degrees - 0.5), sign * (degrees + 0.5)))
            found.append(Caption(text, "angle", *bounds))
    return found


def _apart(
    topic: str, what: str, where: str, at: tuple[str, ...], touching: float = 1.5
) -> list[Caption]:
    """Return captions of how far ``what`` is from ``where``; those of ``at`` are of no distance."""
    bands = (
        (touching, 4.0, "very close to"),
        (4.0, 8.0, "close to"),
        (8.0, 13.0, "some way from"),
        (13.0, 20.0, "far from"),
        (20.0, INF, "very far from"),
    )
    found = [Caption(text, topic, 0.0, touching) for text in at]
    found += [Caption(f"{what} is {how} {where}", topic, low, high) for low, high, how in bands]
    found += [
        Caption(f"{what} is {number} centimetres from {where}", topic, number - 0.5, number + 0.5)
        for number in range(1, 26)
    ]
    return found


def _reach() -> list[Caption]:
    at = (
        "move the gripper tip to the target",
        "the gripper tip is at the target",
        "the tip touches the target",
        "reach the target with the gripper",
        "hold the gripper at the target",
    )
    away = "move the gripper tip away from the target"
    return [
        *_apart("tip to target", "the gripper tip", "the target", at),
        Caption(away, "tip to target", 20.0, INF),
    ]


def _push() -> list[Caption]:
    on = (
        "push the cube onto the target",
        "the cube is on the target",
        "the cube lies on the target",
        "move the cube to the target",
        "the cube covers the target",
    )
    touching = ("the gripper touches the cube", "the gripper tip is at the cube", "touch the cube")
    away = "push the cube away from the target"
    return [
        *_apart("cube to target", "the cube", "the target", on),
        Caption(away, "cube to target", 20.0, INF),
        *_apart("tip to cube", "the gripper tip", "the cube", touching, touching=3.0),
    ]
