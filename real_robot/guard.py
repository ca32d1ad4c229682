"""The guard: the last thing between a policy and an arm.

Every decision is a pure function of the limits, the guard's memory, the observation, the command
and the time; ``Guard`` keeps the memory and nothing else. Decisions are taken in this order:

1. disarmed or stopped: nothing is sent;
2. a clock that went back stops the arm;
3. an observation that is malformed, late, out of order, from the future or frozen is refused;
4. a command with wrong keys, types or units, or that is not finite, is refused;
5. what is left is clamped to the joint ranges, then to one step from the last command sent (from
   the measured position when none was sent since arming). A command that comes early in the control
   period gets that share of the step, so that commanding faster moves no faster.

Refused means: the last safe command is held, and ``Limits.max_refusals`` refusals in a row stop the
arm. A stop latches: nothing but ``rearm`` lets motion through again.

This is not a certified safety function. It runs in Python, on a computer that may stall, and cannot
replace an emergency stop, torque limits in the drives, or distance to people.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from embodied.errors import UserError
from real_robot.limits import (
    EARLY_SHARE,
    Limits,
    bound,
    command_fault,
    joint_positions,
    observation_fault,
    range_fault,
)


class Status(StrEnum):
    """Whether commands pass."""

    DISARMED = "disarmed"
    ARMED = "armed"
    STOPPED = "stopped"


class Verdict(StrEnum):
    """What became of one command."""

    PASSED = "passed"  # sent as it was
    CLAMPED = "clamped"  # sent within the limits
    HELD = "held"  # refused; the last safe command is sent again
    BLOCKED = "blocked"  # disarmed or stopped; nothing is sent


@dataclass(frozen=True)
class Decision:
    """What to send, and why."""

    action: dict[str, float] | None  # joint targets, rad; None: send nothing
    verdict: Verdict
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Memory:
    """All that a guard remembers from one command to the next."""

    status: Status = Status.DISARMED
    stop_reason: str = ""
    now: float = -math.inf  # time of the last call, s
    observed_at: float | None = None  # time of the newest accepted observation, s
    positions: Mapping[str, float] | None = None  # of the newest accepted observation, rad
    repeats: int = 1  # observations in a row with those positions
    sent: Mapping[str, float] | None = None  # last command sent since arming, rad
    sent_at: float = -math.inf  # when it was issued, s
    refusals: int = 0  # refused commands in a row


def stopped(memory: Memory, reason: str) -> Memory:
    """Latch a stop; the first reason is kept."""
    if memory.status is Status.STOPPED:
        return memory
    return replace(memory, status=Status.STOPPED, stop_reason=reason)


def armed(limits: Limits, memory: Memory, observation: Any, now: float) -> Memory:
    """Return the memory of a guard that was armed on a fresh observation within the limits.

    Raises:
        UserError: The observation cannot be trusted, or a joint is outside its range.
    """
    fault = (
        _clock_fault(memory, now)
        or observation_fault(limits, observation, now, memory.observed_at)
        or range_fault(limits, joint_positions(limits, observation))
    )
    if fault:
        raise UserError(f"the guard stays unarmed: {fault}")
    # No ``positions`` yet: the observation it is armed on is often also that of the first command.
    return Memory(status=Status.ARMED, now=now, observed_at=float(observation["time"]))


def decide(
    limits: Limits, memory: Memory, observation: Any, command: Any, now: float
) -> tuple[Memory, Decision]:
    """Judge one command; see the module's text for the order of the checks.

    Args:
        limits: The bounds of the arm.
        memory: What the guard remembers.
        observation: What the command rests on, as ``Robot.get_observation`` gave it.
        command: What the policy wants: ``<joint>.pos`` -> rad. Nothing about it is trusted.
        now: Present time on the robot's clock, s.

    Returns:
        The new memory and the decision.
    """
    if memory.status is not Status.ARMED:
        reason = f"the guard is {memory.status}" + (
            f": {memory.stop_reason}" if memory.stop_reason else ""
        )
        return memory, Decision(None, Verdict.BLOCKED, (reason,))
    if fault := _clock_fault(memory, now):
        return stopped(memory, fault), Decision(None, Verdict.BLOCKED, (fault,))
    memory = replace(memory, now=now)
    if fault := observation_fault(limits, observation, now, memory.observed_at):
        return _refuse(limits, memory, fault)
    memory = _observed(limits, memory, observation)
    if limits.frozen_after is not None and memory.repeats >= limits.frozen_after:
        return _refuse(limits, memory, f"joint readings are frozen: {memory.repeats} are identical")
    measured = joint_positions(limits, observation)
    if memory.sent is None and (fault := range_fault(limits, measured)):
        return stopped(memory, fault), Decision(None, Verdict.BLOCKED, (fault,))
    if fault := command_fault(limits, command):
        return _refuse(limits, memory, fault)
    share = _step_share(limits, now - memory.sent_at)
    action, clamped = bound(limits, memory.sent or measured, command, share)
    verdict = Verdict.CLAMPED if clamped else Verdict.PASSED
    memory = replace(memory, sent=action, sent_at=now, refusals=0)
    return memory, Decision(dict(action), verdict, clamped)


def confirmed(limits: Limits, memory: Memory, sent: Any) -> Memory:
    """Take over what the robot says it really sent; a report that cannot be true stops the arm."""
    if memory.status is not Status.ARMED or memory.sent is None:
        return memory
    fault = command_fault(limits, sent)
    if fault:
        return stopped(memory, f"the robot reports a malformed action: {fault}")
    actual = joint_positions(limits, sent)
    for name, joint in limits.joints.items():
        key = f"{name}.pos"
        if abs(actual[key] - memory.sent[key]) > joint.max_step:
            wanted = memory.sent[key]
            return stopped(
                memory, f"the robot sent {key} {actual[key]:.4g} instead of {wanted:.4g}"
            )
    if fault := range_fault(limits, actual):
        return stopped(memory, f"the robot sent a target outside the limits: {fault}")
    return replace(memory, sent=actual)


def _clock_fault(memory: Memory, now: float) -> str | None:
    if not math.isfinite(now) or now < memory.now:
        return f"the clock went from {memory.now:.6g} to {now:.6g} s; it must be monotonic"
    return None


def _observed(limits: Limits, memory: Memory, observation: Mapping[str, Any]) -> Memory:
    positions = joint_positions(limits, observation)
    repeats = memory.repeats + 1 if positions == memory.positions else 1
    measured_at = float(observation["time"])
    return replace(memory, observed_at=measured_at, positions=positions, repeats=repeats)


def _step_share(limits: Limits, elapsed: float) -> float:
    periods = elapsed * limits.control_hz
    return 1.0 if periods >= 1 - EARLY_SHARE else periods


def _refuse(limits: Limits, memory: Memory, fault: str) -> tuple[Memory, Decision]:
    refusals = memory.refusals + 1
    memory = replace(memory, refusals=refusals)
    if refusals >= limits.max_refusals:
        reason = f"{refusals} refusals in a row, the last: {fault}"
        return stopped(memory, reason), Decision(None, Verdict.BLOCKED, (fault, reason))
    action = None if memory.sent is None else dict(memory.sent)
    return memory, Decision(action, Verdict.HELD, (fault,))


class Guard:
    """Holds the memory of the pure functions above; starts disarmed.

    One guard serves one arm and one commander. It reads no clock: ``now`` is given, always from the
    robot's clock.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._memory = Memory()

    @property
    def status(self) -> Status:
        """Whether commands pass."""
        return self._memory.status

    @property
    def stop_reason(self) -> str:
        """Why the guard stopped, ``""`` when it did not."""
        return self._memory.stop_reason

    def arm(self, observation: Mapping[str, Any], now: float) -> None:
        """Let commands pass from here on.

        Raises:
            UserError: The guard is armed or stopped, the observation cannot be trusted, or a joint
                is outside its range.
        """
        if self.status is Status.ARMED:
            raise UserError("the guard is armed already; disarm it first")
        if self.status is Status.STOPPED:
            raise UserError(f"the guard has stopped ({self.stop_reason}); find out why, then rearm")
        self._memory = armed(self.limits, self._memory, observation, now)

    def rearm(self, observation: Mapping[str, Any], now: float) -> None:
        """Arm again after a stop: a person's decision, never that of a policy or a retry.

        Raises:
            UserError: The guard has not stopped, or as ``arm``; it then stays as it was.
        """
        if self.status is not Status.STOPPED:
            raise UserError(f"the guard is {self.status}, not stopped; use arm")
        self._memory = armed(self.limits, self._memory, observation, now)

    def disarm(self) -> None:
        """Let no command pass until the next ``arm``; a stop stays latched."""
        if self.status is Status.ARMED:
            self._memory = replace(self._memory, status=Status.DISARMED)

    def stop(self, reason: str) -> None:
        """Latch a stop."""
        self._memory = stopped(self._memory, reason)

    def decide(self, observation: Any, command: Any, now: float) -> Decision:
        """Judge one command; never raises for anything that a policy or a robot gives."""
        self._memory, decision = decide(self.limits, self._memory, observation, command, now)
        return decision

    def confirm(self, sent: Any) -> None:
        """Tell the guard what the robot really sent of the last decision."""
        self._memory = confirmed(self.limits, self._memory, sent)
