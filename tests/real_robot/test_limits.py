from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from embodied.errors import UserError
from real_robot.limits import (
    JointLimit,
    Limits,
    bound,
    command_fault,
    number,
    observation_fault,
    range_fault,
    so101_limits,
)


def good(limits: Limits, value: float = 0.0) -> dict[str, float]:
    return {f"{name}.pos": value for name in limits.joints}


def test_so101_limits_are_the_arms_ranges_and_a_step_of_speed_over_rate() -> None:
    limits = so101_limits(control_hz=20.0, max_speed=3.0)
    assert tuple(limits.joints) == (
        "shoulder_pan",
        "shoulder_lift",
        "elbow_flex",
        "wrist_flex",
        "wrist_roll",
        "gripper",
    )
    assert limits.joints["wrist_roll"] == JointLimit(-2.74385, 2.84121, 0.15)
    assert limits.oldest == pytest.approx(0.1)
    assert so101_limits(max_age=0.05).oldest == 0.05


@pytest.mark.parametrize(
    "joint",
    [
        JointLimit(1.0, 1.0, 0.1),
        JointLimit(1.0, -1.0, 0.1),
        JointLimit(-1.0, 1.0, 0.0),
        JointLimit(-1.0, math.inf, 0.1),
        JointLimit(math.nan, 1.0, 0.1),
    ],
)
def test_impossible_joint_limits_are_refused(joint: JointLimit) -> None:
    with pytest.raises(UserError, match="elbow"):
        Limits(joints={"elbow": joint}, control_hz=10.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [("control_hz", 0.0), ("max_age", math.nan), ("max_refusals", 0), ("frozen_after", 0)],
)
def test_impossible_numbers_are_refused(limits: Limits, field: str, value: float) -> None:
    with pytest.raises(UserError, match=field):
        replace(limits, **{field: value})


def test_limits_without_joints_are_refused() -> None:
    with pytest.raises(UserError, match="no joint"):
        Limits(joints={}, control_hz=10.0)


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.float64(1), np.int64(1)])
def test_numbers_are_read(value: object) -> None:
    assert number(value) == 1.0


@pytest.mark.parametrize("value", [True, np.True_, "1", None, [1.0], np.array(1.0), 1j])
def test_what_is_no_number_is_not_read(value: object) -> None:
    assert number(value) is None


def test_an_integer_too_large_for_a_float_is_not_finite() -> None:
    assert math.isnan(number(10**400) or 0.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, "0.1", True, None, 45.0])
def test_malformed_values_are_named(limits: Limits, value: object) -> None:
    fault = command_fault(limits, {**good(limits), "lift.pos": value})
    assert fault is not None
    assert fault.startswith("lift.pos is")


def test_wrong_keys_are_named(limits: Limits) -> None:
    command = good(limits)
    assert command_fault(limits, command) is None
    assert "unknown keys elbow.pos" in str(command_fault(limits, {**command, "elbow.pos": 0.0}))
    assert "unknown keys 3" in str(command_fault(limits, {**command, 3: 0.0}))
    del command["pan.pos"]
    assert "lacks pan.pos" in str(command_fault(limits, command))
    assert "not a mapping" in str(command_fault(limits, [0.0, 0.0, 0.0]))
    assert "not a mapping" in str(command_fault(limits, None))


@pytest.mark.parametrize(
    ("measured_at", "newest", "fault"),
    [
        (10.0, 9.9, None),
        (9.9, 9.9, None),  # two reads of one measurement
        (9.89, None, "old"),
        (10.001, None, "future"),
        (9.95, 9.96, "older than the one before"),
        (math.nan, None, "time is missing or not a finite"),
        (None, None, "time is missing or not a finite"),
    ],
)
def test_observation_times(
    limits: Limits, measured_at: float | None, newest: float | None, fault: str | None
) -> None:
    observation = {**good(limits), "time": measured_at}
    found = observation_fault(limits, observation, now=10.0, newest=newest)
    assert (found is None) == (fault is None)
    assert fault is None or fault in str(found)


def test_an_observation_without_a_finite_position_is_refused(limits: Limits) -> None:
    observation = {**good(limits), "time": 0.0}
    assert observation_fault(limits, observation, 0.0, None) is None
    assert "wrist.pos" in str(
        observation_fault(limits, {**observation, "wrist.pos": math.nan}, 0.0, None)
    )
    assert "not a mapping" in str(observation_fault(limits, None, 0.0, None))


def test_a_joint_may_be_measured_barely_outside_its_range(limits: Limits) -> None:
    assert range_fault(limits, {**good(limits), "pan.pos": 2.015}) is None
    assert "pan is at 2.030" in str(range_fault(limits, {**good(limits), "pan.pos": 2.03}))


def test_bound_clamps_to_the_range_then_to_a_step(limits: Limits) -> None:
    reference = {"pan.pos": 1.95, "lift.pos": 0.0, "wrist.pos": 0.0}
    command = {"pan.pos": 2.5, "lift.pos": -1.0, "wrist.pos": 0.05}
    bounded, reasons = bound(limits, reference, command)
    assert bounded == {"pan.pos": 2.0, "lift.pos": -0.1, "wrist.pos": 0.05}
    assert reasons == (
        "pan.pos 2.5 clamped to the range",
        "lift.pos -1 clamped to a step of 0.1 rad",
    )


def test_a_short_step_from_just_outside_the_range_ends_inside(limits: Limits) -> None:
    reference = {"pan.pos": 2.01, "lift.pos": -1.505, "wrist.pos": 0.0}
    bounded, _ = bound(limits, reference, reference, share=0.01)
    assert bounded == {"pan.pos": 2.0, "lift.pos": -1.5, "wrist.pos": 0.0}


def test_bound_leaves_a_command_within_limits_untouched_to_the_last_bit(limits: Limits) -> None:
    command = {"pan.pos": 0.1 / 3, "lift.pos": -0.0999999999999, "wrist.pos": 5e-324}
    bounded, reasons = bound(limits, good(limits), command)
    assert bounded == command
    assert reasons == ()
