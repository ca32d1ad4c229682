"""What an arm may do, and pure checks of commands and observations against it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodied.errors import UserError

Command = Mapping[str, float]  # "<joint>.pos" -> absolute joint target, rad

# No joint target of an arm is two turns away; 45.0 is an angle in degrees that somebody forgot.
MAX_ANGLE = 4 * math.pi
# How far outside its range a joint may be measured: soft stops, backlash, one encoder's noise.
POSITION_TOLERANCE = 0.02
# A command may come this share of a control period early and still take the whole step.
EARLY_SHARE = 0.1

SO101_RANGES: dict[str, tuple[float, float]] = {
    "shoulder_pan": (-1.91986, 1.91986),
    "shoulder_lift": (-1.74533, 1.74533),
    "elbow_flex": (-1.69, 1.69),
    "wrist_flex": (-1.65806, 1.65806),
    "wrist_roll": (-2.74385, 2.84121),
    "gripper": (-0.174533, 1.745329),
}


@dataclass(frozen=True)
class JointLimit:
    """The bounds of one joint."""

    low: float  # smallest position, rad
    high: float  # largest position, rad
    max_step: float  # largest change of the target in one control period, rad


@dataclass(frozen=True)
class Limits:
    """The bounds that a guard holds an arm to.

    Raises:
        UserError: A bound is not finite, a range is empty, or a step, age or count is not positive.
    """

    joints: Mapping[str, JointLimit]  # by joint name, in action order
    control_hz: float  # rate that max_step refers to
    max_age: float | None = None  # oldest usable observation, s; None: two control periods
    max_refusals: int = 3  # refused commands in a row that stop the arm
    # Identical joint readings in a row that count as a frozen sensor. None: never, because an arm
    # at rest behind a coarse encoder repeats itself too.
    frozen_after: int | None = None

    def __post_init__(self) -> None:
        if not self.joints:
            raise UserError("limits name no joint; give one entry per joint")
        for name, joint in self.joints.items():
            if not all(map(math.isfinite, (joint.low, joint.high, joint.max_step))):
                raise UserError(f"the limits of joint {name!r} are not finite; give them in rad")
            if not (joint.low < joint.high and joint.max_step > 0):
                raise UserError(f"joint {name!r} needs low < high and max_step > 0, got {joint}")
        for name in ("control_hz", "max_age", "max_refusals", "frozen_after"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UserError(f"{name} is {value}; it must be positive and finite")

    @property
    def oldest(self) -> float:
        """Largest age of an observation that a command may rest on, s."""
        return 2 / self.control_hz if self.max_age is None else self.max_age


def so101_limits(
    control_hz: float = 10.0, max_speed: float = 2.0, max_age: float | None = None
) -> Limits:
    """Return limits for the SO-101 arm.

    The ranges are those of the arm's public model, where zero is the middle of each joint's range.

    Args:
        control_hz: Commands per second.
        max_speed: Largest speed of every joint target, rad/s. The servos reach about 5.
        max_age: Oldest usable observation, s; two control periods when left out.
    """
    step = max_speed / control_hz
    joints = {name: JointLimit(low, high, step) for name, (low, high) in SO101_RANGES.items()}
    return Limits(joints=joints, control_hz=control_hz, max_age=max_age)


def number(value: Any) -> float | None:
    """Return a real number as a float, NaN for one too large, None for anything else.

    Booleans, strings and arrays are no numbers here: a mask or a batch that slipped into a command
    must not move an arm.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.nan


def command_fault(limits: Limits, command: Any) -> str | None:
    """Return what is malformed about a command, or None.

    Checked before anything is clamped, because ``np.clip``, ``min`` and ``max`` let NaN through.
    """
    if not isinstance(command, Mapping):
        return f"the command is a {type(command).__name__}, not a mapping of joint targets"
    expected = {f"{name}.pos" for name in limits.joints}
    missing = sorted(expected - set(command))
    if missing:
        return f"the command lacks {', '.join(missing)}"
    extra = sorted(str(key) for key in set(command) - expected)
    if extra:
        return f"the command has unknown keys {', '.join(extra)[:80]}"
    for key in sorted(expected):
        value = number(command[key])
        if value is None:
            return f"{key} is a {type(command[key]).__name__}, not a number"
        if not math.isfinite(value):
            return f"{key} is not finite"
        if abs(value) > MAX_ANGLE:
            return f"{key} is {value:.4g}, which is no angle in rad (is it in degrees?)"
    return None


def observation_fault(
    limits: Limits, observation: Any, now: float, newest: float | None
) -> str | None:
    """Return why an observation cannot be acted on at ``now``, or None.

    Args:
        limits: The bounds of the arm.
        observation: What the robot returned; the joint positions and ``time`` are read.
        now: Present time on the robot's clock, s.
        newest: Time of the newest observation seen before, s.
    """
    if not isinstance(observation, Mapping):
        return f"the observation is a {type(observation).__name__}, not a mapping"
    for key in ("time", *(f"{name}.pos" for name in limits.joints)):
        value = number(observation.get(key))
        if value is None or not math.isfinite(value):
            return f"the observation's {key} is missing or not a finite number"
    measured_at = float(observation["time"])
    if measured_at > now:
        return f"the observation is {measured_at - now:.3g} s in the future; clocks differ"
    if newest is not None and measured_at < newest:
        return f"the observation is {newest - measured_at:.3g} s older than the one before it"
    if now - measured_at > limits.oldest:
        return f"the observation is {now - measured_at:.3g} s old, over {limits.oldest:.3g} s"
    return None


def range_fault(limits: Limits, positions: Mapping[str, float]) -> str | None:
    """Return which joint (``<joint>.pos``, rad) is outside its range, or None."""
    for name, joint in limits.joints.items():
        value = positions[f"{name}.pos"]
        slack = min(POSITION_TOLERANCE, joint.max_step)
        if not joint.low - slack <= value <= joint.high + slack:
            return (
                f"{name} is at {value:.3f} rad, outside {joint.low:.3f} .. {joint.high:.3f}; "
                "move it inside and arm again"
            )
    return None


def joint_positions(limits: Limits, values: Mapping[str, Any]) -> dict[str, float]:
    """Return the ``<joint>.pos`` entries as plain floats, rad, in joint order."""
    return {f"{name}.pos": float(values[f"{name}.pos"]) for name in limits.joints}


def bound(
    limits: Limits, reference: Mapping[str, float], command: Command, share: float = 1.0
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Clamp a well-formed command to the ranges and then to one step from ``reference``.

    Args:
        limits: The bounds of the arm.
        reference: Where the step starts, rad; each joint within one step of its range.
        command: Joint targets, rad, already checked with ``command_fault``.
        share: Share of the step that is allowed, 0 to 1.

    Returns:
        The bounded targets, rad, and one line per joint that was clamped.
    """
    bounded: dict[str, float] = {}
    clamped: list[str] = []
    for name, joint in limits.joints.items():
        key = f"{name}.pos"
        wanted, start = float(command[key]), reference[key]
        step = joint.max_step * share
        target = min(max(wanted, joint.low), joint.high)
        if target != wanted:
            clamped.append(f"{key} {wanted:.4g} clamped to the range")
        stepped = min(max(target, start - step), start + step)
        if stepped != target:
            clamped.append(f"{key} {target:.4g} clamped to a step of {step:.3g} rad")
        # A reference just outside its range must not pull a short step out of the range again.
        bounded[key] = min(max(stepped, joint.low), joint.high)
    return bounded, tuple(clamped)
