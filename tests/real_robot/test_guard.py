from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.errors import UserError
from real_robot.guard import Decision, Guard, Memory, Status, Verdict, armed, decide
from real_robot.limits import POSITION_TOLERANCE, JointLimit, Limits

LIMITS = Limits(
    joints={"a": JointLimit(-1.0, 1.5, 0.1), "b": JointLimit(-0.5, 0.5, 0.25)}, control_hz=10.0
)
PERIOD = 0.1
ROUNDING = 1e-12


def observed(time: float, a: float = 0.0, b: float = 0.0) -> dict[str, Any]:
    return {"a.pos": a, "b.pos": b, "time": time}


def target(a: Any = 0.0, b: Any = 0.0) -> dict[str, Any]:
    return {"a.pos": a, "b.pos": b}


def armed_guard(limits: Limits = LIMITS, **position: float) -> Guard:
    guard = Guard(limits)
    guard.arm(observed(0.0, **position), now=0.0)
    return guard


def command(guard: Guard, step: int, wanted: Any, **position: float) -> Decision:
    now = step * PERIOD
    return guard.decide(observed(now, **position), wanted, now)


def test_it_starts_disarmed_and_sends_nothing() -> None:
    guard = Guard(LIMITS)
    assert guard.status is Status.DISARMED
    decision = command(guard, 0, target())
    assert decision == Decision(None, Verdict.BLOCKED, ("the guard is disarmed",))


def test_a_good_command_passes_unchanged() -> None:
    decision = command(armed_guard(), 1, target(0.05, -0.2))
    assert decision == Decision(target(0.05, -0.2), Verdict.PASSED)


def test_the_first_command_steps_from_the_measured_position() -> None:
    guard = armed_guard(a=0.9)
    decision = command(guard, 1, target(a=-1.0), a=0.8)
    assert decision.action == pytest.approx(target(a=0.7))
    assert decision.verdict is Verdict.CLAMPED
    assert decision.reasons == ("a.pos -1 clamped to a step of 0.1 rad",)


def test_later_commands_step_from_the_last_one_sent() -> None:
    guard = armed_guard()
    command(guard, 1, target(a=0.1))
    # The arm lags behind, but the reference is what was sent.
    decision = command(guard, 2, target(a=1.0), a=0.02)
    assert decision.action == pytest.approx(target(a=0.2))


def test_commanding_faster_moves_no_faster() -> None:
    guard = armed_guard()
    for step in range(1001):
        now = step * PERIOD / 100
        decision = guard.decide(observed(now), target(a=1.5), now)
    assert decision.action is not None
    # The first step from the measured position, then ten control periods at full speed.
    assert decision.action["a.pos"] == pytest.approx(0.1 + 10 * 0.1)


def test_a_little_jitter_costs_no_step() -> None:
    guard = armed_guard()
    guard.decide(observed(1.0), target(a=0.1), 1.0)
    assert guard.decide(observed(1.0925), target(a=0.2), 1.0925).verdict is Verdict.PASSED


@pytest.mark.parametrize("wanted", [target(math.nan), target(True), {"a.pos": 0.0}, None, "stop"])
def test_a_malformed_command_holds_the_last_one_and_the_third_stops(wanted: Any) -> None:
    guard = armed_guard()
    command(guard, 1, target(0.05))
    for step in (2, 3):
        decision = command(guard, step, wanted)
        assert decision.action == target(0.05)
        assert decision.verdict is Verdict.HELD
    decision = command(guard, 4, wanted)
    assert decision.action is None
    assert guard.status is Status.STOPPED
    assert guard.stop_reason.startswith("3 refusals in a row")


def test_a_good_command_ends_the_count_of_refusals() -> None:
    guard = armed_guard()
    for step in range(1, 30):
        command(guard, step, target(math.nan) if step % 3 else target(0.05))
    assert guard.status is Status.ARMED


def test_nothing_is_sent_for_a_malformed_first_command() -> None:
    assert command(armed_guard(), 1, target(math.inf)) == Decision(
        None, Verdict.HELD, ("a.pos is not finite",)
    )


def test_a_stop_latches_until_it_is_rearmed() -> None:
    guard = armed_guard()
    guard.stop("hand in the workspace")
    guard.stop("a later reason")
    assert guard.stop_reason == "hand in the workspace"
    guard.disarm()
    for step in range(1, 200):
        assert command(guard, step, target(0.01)).action is None
    with pytest.raises(UserError, match="hand in the workspace"):
        guard.arm(observed(20.0), 20.0)
    guard.rearm(observed(20.0, a=-0.5), 20.0)
    # It starts again from where the arm is now, not from what was sent before the stop.
    decision = guard.decide(observed(20.1, a=-0.5), target(a=0.5), 20.1)
    assert decision.action == pytest.approx(target(a=-0.4))


def test_rearm_and_arm_are_not_interchangeable() -> None:
    guard = Guard(LIMITS)
    with pytest.raises(UserError, match="use arm"):
        guard.rearm(observed(0.0), 0.0)
    guard.arm(observed(0.0), 0.0)
    with pytest.raises(UserError, match="armed already"):
        guard.arm(observed(0.0), 0.0)


@pytest.mark.parametrize(
    ("observation", "now", "message"),
    [
        (observed(0.0, a=1.6), 0.0, "a is at 1.600 rad, outside -1.000 .. 1.500"),
        (observed(0.0), 0.3, "old"),
        (observed(0.4), 0.3, "future"),
        (observed(math.nan), 0.3, "time"),
        (observed(0.0, a=math.nan), 0.0, "a.pos"),
        ({}, 0.0, "missing"),
        (None, 0.0, "not a mapping"),
        (observed(0.0), math.nan, "monotonic"),
    ],
)
def test_arming_needs_a_fresh_observation_within_the_limits(
    observation: Any, now: float, message: str
) -> None:
    guard = Guard(LIMITS)
    with pytest.raises(UserError, match=message):
        guard.arm(observation, now)
    assert guard.status is Status.DISARMED


def test_an_arm_that_moved_out_of_its_range_before_the_first_command_stops() -> None:
    guard = armed_guard()
    assert command(guard, 1, target(), a=1.6).action is None
    assert "a is at 1.600" in guard.stop_reason


def test_a_frozen_clock_on_observations_holds_within_the_age_and_then_stops() -> None:
    guard = armed_guard(replace(LIMITS, max_age=0.25))
    verdicts = [
        guard.decide(observed(0.1), target(0.01 * step), step * PERIOD).verdict
        for step in range(1, 8)
    ]
    assert verdicts == ["passed", "passed", "passed", "held", "held", "blocked", "blocked"]


def test_frozen_readings_with_fresh_times_are_noticed_when_asked_for() -> None:
    guard = armed_guard(replace(LIMITS, frozen_after=3))
    verdicts = [command(guard, step, target(), a=0.3).verdict for step in range(1, 6)]
    assert verdicts == ["clamped", "clamped", "held", "held", "blocked"]
    guard = armed_guard(replace(LIMITS, frozen_after=3))
    verdicts = [command(guard, step, target(), a=0.001 * step).verdict for step in range(1, 20)]
    assert set(verdicts) == {"passed"}


@pytest.mark.parametrize("now", [0.4999, math.nan, -math.inf, math.inf])
def test_a_clock_that_goes_back_or_is_not_finite_stops(now: float) -> None:
    guard = armed_guard()
    command(guard, 5, target())
    assert guard.decide(observed(0.49), target(), now).action is None
    assert guard.status is Status.STOPPED
    assert "monotonic" in guard.stop_reason


def test_what_the_robot_really_sent_is_the_next_reference() -> None:
    guard = armed_guard()
    command(guard, 1, target(a=0.1))
    guard.confirm(target(a=0.04))
    assert command(guard, 2, target(a=1.0)).action == pytest.approx(target(a=0.14))


@pytest.mark.parametrize("sent", [None, {}, target(math.nan), target(a=0.1, b=0.4), {"a.pos": 0.1}])
def test_a_report_of_the_robot_that_cannot_be_true_stops(sent: Any) -> None:
    guard = armed_guard()
    command(guard, 1, target(a=0.1))
    guard.confirm(sent)
    assert guard.status is Status.STOPPED


# Anything that a policy may give: every float there is, wrong types, wrong keys.
floats = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)
values = st.one_of(
    floats, st.floats(-2, 2), st.integers(), st.booleans(), st.none(), st.text(max_size=3)
)
keys = st.sampled_from(["a.pos", "b.pos", "a.vel", "a", "", 0])
commands = st.one_of(
    st.fixed_dictionaries({"a.pos": floats, "b.pos": floats}),
    st.fixed_dictionaries({"a.pos": st.floats(-3, 3), "b.pos": st.floats(-3, 3)}),
    st.dictionaries(keys, values, max_size=4),
    values,
)
# Time between calls, age of the observation, and where the joints are measured.
instants = st.tuples(
    st.floats(0.0, 0.3), st.floats(-0.01, 0.3), st.floats(-1.5, 2.0), st.floats(-0.7, 0.7)
)


def check_sent(action: dict[str, float], reference: dict[str, float]) -> None:
    assert set(action) == {"a.pos", "b.pos"}
    for name, joint in LIMITS.joints.items():
        value = action[f"{name}.pos"]
        assert type(value) is float
        assert math.isfinite(value)
        assert joint.low <= value <= joint.high
        assert abs(value - reference[f"{name}.pos"]) <= joint.max_step + ROUNDING


@given(st.lists(st.tuples(commands, instants), min_size=1, max_size=12))
def test_whatever_is_commanded_what_is_sent_is_finite_in_range_and_one_step_away(
    calls: list[tuple[Any, tuple[float, float, float, float]]],
) -> None:
    guard, now, last = armed_guard(), 0.0, None
    for wanted, (elapsed, age, a, b) in calls:
        now += elapsed
        was = guard.status
        decision = guard.decide(observed(now - age, a, b), wanted, now)
        if was is Status.STOPPED:
            assert decision.action is None
        if decision.action is not None:
            check_sent(decision.action, last or {"a.pos": a, "b.pos": b})
            last = decision.action
        assert (decision.verdict is Verdict.PASSED) == (not decision.reasons)


@given(commands, st.floats(0.0, 1.0), st.floats(-1.0, 1.5), st.floats(-0.5, 0.5))
def test_decisions_are_pure(wanted: Any, now: float, a: float, b: float) -> None:
    memory = armed(LIMITS, Memory(), observed(0.0, a, b), 0.0)
    observation = observed(now, a, b)
    assert decide(LIMITS, memory, observation, wanted, now) == decide(
        LIMITS, memory, observation, wanted, now
    )
    assert memory == armed(LIMITS, Memory(), observed(0.0, a, b), 0.0)


@given(st.floats(-1.0 - POSITION_TOLERANCE, -1.0), st.floats(-1.5, 1.5), st.floats(0.001, 0.2))
def test_an_arm_resting_just_outside_its_range_is_led_back_in(
    start: float, wanted: float, elapsed: float
) -> None:
    guard = armed_guard(a=start)
    decision = guard.decide(observed(elapsed, a=start), target(a=wanted), elapsed)
    assert decision.action is not None
    check_sent(decision.action, target(a=start))


@given(st.lists(commands, max_size=30), st.floats(0.0, 0.2))
def test_a_stopped_guard_never_sends(wanted: list[Any], elapsed: float) -> None:
    guard = armed_guard()
    guard.stop("test")
    for index, one in enumerate(wanted):
        now = index * elapsed
        assert guard.decide(observed(now), one, now).action is None
        guard.confirm(one)
    assert guard.status is Status.STOPPED
