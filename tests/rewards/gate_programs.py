"""Rewards that were written to be judged: good ones, doubtful ones and bad ones.

``GOOD`` must be accepted, ``DOUBTFUL`` must be warned of or refused, ``BAD`` must be refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Expected = Literal["good", "doubtful", "bad"]
OUTCOMES: dict[Expected, set[str]] = {
    "good": {"pass", "warn"},
    "doubtful": {"warn", "fail"},
    "bad": {"fail"},
}


@dataclass(frozen=True)
class Case:
    """A program, the task that it is for, and what must become of it."""

    name: str
    task: str
    expected: Expected
    source: str


def program(total: str, terms: dict[str, str], *statements: str) -> str:
    """Return the text of a reward."""
    lines = ["def reward(state, action, next_state):", *(f"    {line}" for line in statements)]
    listed = ", ".join(f"{name!r}: {value}" for name, value in terms.items())
    return "\n".join([*lines, f"    return {total}, {{{listed}}}", ""])


def summed(*statements: str, **terms: str) -> str:
    """Return the text of a reward whose total is the sum of its terms."""
    return program(" + ".join(f"({value})" for value in terms.values()), terms, *statements)


TO_TARGET = "d = np.linalg.norm(next_state.cube_position - next_state.target_position, axis=-1)"
WAS = "b = np.linalg.norm(state.cube_position - state.target_position, axis=-1)"
TO_CUBE = "r = np.linalg.norm(next_state.tip_position - next_state.cube_position, axis=-1)"
SPEED = "v = np.linalg.norm(next_state.cube_velocity, axis=-1)"
WAY = "w = np.linalg.norm(next_state.tip_position - state.tip_position, axis=-1)"
TIP = "d = np.linalg.norm(next_state.tip_position - next_state.target_position, axis=-1)"
JOINTS = "j = np.sum(np.abs(next_state.joint_velocity), axis=-1)"
EFFORT = "e = np.sum(np.square(action), axis=-1)"

PUSH: list[tuple[str, Expected, str]] = [
    ("minus the distance", "good", summed(TO_TARGET, far="-d")),
    ("bell around the target", "good", summed(TO_TARGET, near="np.exp(-np.square(d / 0.03))")),
    (
        "staged",
        "good",
        summed(
            TO_CUBE,
            TO_TARGET,
            SPEED,
            reach="np.where(d < 0.03, 1.0, 1 - np.tanh(5 * r))",
            place="2.0 * (1 - np.tanh(5 * d))",
            rest="np.where((d < 0.03) & (v < 0.01), 2.0, 0.0)",
        ),
    ),
    (
        "progress and a bonus",
        "good",
        summed(TO_TARGET, WAS, progress="10.0 * (b - d)", near="1.0 if d < 0.03 else 0.0"),
    ),
    ("away from the target", "bad", summed(TO_TARGET, far="d")),
    ("a constant", "bad", summed(one="np.ones_like(action[:, 0])")),
    ("not a number", "bad", summed(TO_TARGET, root="np.sqrt(-1.0 - d)")),
    ("too large", "bad", summed(TO_TARGET, far="-500000.0 * d")),
    ("only reaches for the cube", "bad", summed(TO_CUBE, reach="-r")),
    ("only saves effort", "bad", summed(EFFORT, effort="-e")),
    ("lifts the cube", "bad", summed(height="10.0 * next_state.cube_position[:, 2]")),
    (
        "a direction without a guard",
        "bad",
        summed(
            TO_TARGET,
            "u = (next_state.target_position - next_state.cube_position) / d[:, None]",
            far="-d",
            along="np.sum(u * next_state.cube_velocity, axis=-1)",
        ),
    ),
    (
        "a direction in the plane without a guard",
        "bad",
        summed(
            TO_TARGET,
            "p = next_state.cube_position[:, :2] - next_state.tip_position[:, :2]",
            far="-d",
            along="0.1 * p[:, 0] / np.sqrt(np.sum(p * p, axis=-1))",
        ),
    ),
    ("the logarithm of a distance", "bad", summed(TO_TARGET, near="-np.log(d)")),
    ("pays for moving", "bad", summed(TO_TARGET, JOINTS, far="-d", busy="1.0 * j")),
    (
        "one term drowns the other",
        "doubtful",
        summed(TO_TARGET, TO_CUBE, far="-1000.0 * d", reach="-r"),
    ),
]

REACH: list[tuple[str, Expected, str]] = [
    ("minus the distance", "good", summed(TIP, far="-d")),
    (
        "closeness and rest",
        "good",
        summed(
            TIP, WAY, near="1 - np.tanh(6 * d)", rest="np.where(d < 0.015, np.exp(-w / 0.005), 0.0)"
        ),
    ),
    ("minus the square of the distance", "good", summed(TIP, far="-100.0 * d * d")),
    ("away from the target", "bad", summed(TIP, far="d")),
    ("stands still", "bad", summed(WAY, slow="-w")),
    ("one over the distance", "bad", summed(TIP, near="0.01 / d")),
    (
        "goes to one fixed point",
        "bad",
        summed(
            "p = next_state.tip_position - np.array([0.2, 0.0, 0.05])",
            far="-np.linalg.norm(p, axis=-1)",
        ),
    ),
    ("goes up", "bad", summed(up="next_state.tip_position[:, 2]")),
    (
        "fines the goal",
        "bad",
        summed(TIP, WAY, far="-d", held="np.where((d < 0.015) & (w < 0.005), -1.0, 0.0)"),
    ),
    ("stands at one end", "doubtful", summed(TIP, near="np.where(d < 0.005, 1.0, 0.0)")),
]

WRITTEN = [
    Case(f"{task}: {name}", task, expected, source)
    for task, rows in (("push", PUSH), ("reach", REACH))
    for name, expected, source in rows
]
