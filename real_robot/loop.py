"""The control loop: observe, choose, guard, send, record, at the robot's fixed rate."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from embodied.errors import UserError
from embodied.types import Robot
from real_robot.clock import Clock, clock_of
from real_robot.guard import Guard, Status, Verdict
from real_robot.interrupts import Interrupts
from real_robot.limits import number
from real_robot.recorder import Recorder
from real_robot.tick import Tick

log = logging.getLogger(__name__)

# Share of a control period: sums of physics steps meet a lock-step deadline only that closely.
ON_TIME = 1e-6

# Observation in, joint targets (``<joint>.pos`` -> rad) out. What it returns is not trusted.
ChooseAction = Callable[[dict[str, Any]], Mapping[str, float]]


@dataclass(frozen=True)
class EpisodeResult:
    """How an episode went."""

    ticks: int  # ticks that were recorded, the last one perhaps without an action
    sent: int  # actions that the robot took
    clamped: int  # of these, how many the guard changed
    held: int  # refused commands
    stopped: str | None  # why it ended early; None when all steps were taken
    error: Exception | None  # what the policy, the robot or a callback raised
    missed_deadlines: int  # control periods that passed without a tick
    latency: Mapping[str, Mapping[str, float]]  # s: observation_age, inference, lateness


@dataclass
class _Attempt:
    """A tick while it happens; frozen into a Tick whatever becomes of it."""

    index: int
    started_at: float
    lateness: float
    observation: dict[str, Any] | None = None
    commanded: Any = None
    guarded: dict[str, float] | None = None
    sent: dict[str, float] | None = None
    verdict: Verdict = Verdict.BLOCKED
    reasons: tuple[str, ...] = ()
    inference: float | None = None
    observation_age: float | None = None

    def freeze(self) -> Tick:
        return Tick(**vars(self))


@dataclass
class _Run:
    robot: Robot
    guard: Guard
    choose_action: ChooseAction
    recorder: Recorder | None
    on_step: Callable[[Tick], None] | None
    clock: Clock
    interrupts: Interrupts
    ticks: list[Tick] = field(default_factory=list)
    missed: int = 0
    doing: str = "starting"

    def loop(self, steps: int) -> None:
        period = 1 / self.robot.control_hz
        deadline = self.clock.now()
        for index in range(steps):
            self._wait(deadline)
            started_at = self.clock.now()
            tick = self.tick(_Attempt(index, started_at, max(0.0, started_at - deadline)))
            if self.on_step is not None:
                self.doing = "reporting a step"
                with self.interrupts.allowed():
                    self.on_step(tick)
            if self.guard.status is not Status.ARMED:
                return
            deadline += period
            # After an overrun wait for the next deadline of the grid: catching up in a burst would
            # send several commands within one control period.
            behind = math.ceil((self.clock.now() - deadline) / period - ON_TIME)
            if behind > 0:
                log.warning("tick %d overran its period; %d deadlines missed", index, behind)
                self.missed += behind
                deadline += period * behind
        self._wait(deadline)

    def tick(self, attempt: _Attempt) -> Tick:
        try:
            self._observe(attempt)
            self._choose(attempt)
            self._send(attempt)
        except BaseException as error:
            attempt.reasons += (self.stop(error),)
            raise
        finally:
            self._keep(attempt.freeze())
        return self.ticks[-1]

    def stop(self, error: BaseException) -> str:
        """Stop the guard because of ``error``; return the reason."""
        reason = f"{_told(error)} while {self.doing}"
        self.guard.stop(reason)
        return reason

    def _wait(self, deadline: float) -> None:
        self.doing = "waiting for the next step"
        with self.interrupts.allowed():
            self.clock.sleep_until(deadline)

    def _observe(self, attempt: _Attempt) -> None:
        self.doing = "reading the robot"
        attempt.observation = self.robot.get_observation()
        if self.guard.status is Status.DISARMED:
            self.guard.arm(attempt.observation, self.clock.now())

    def _choose(self, attempt: _Attempt) -> None:
        assert attempt.observation is not None
        self.doing = "choosing an action"
        # Measured with the machine's clock even when the robot's time stands still.
        begun = time.monotonic()
        try:
            with self.interrupts.allowed():
                attempt.commanded = self.choose_action(dict(attempt.observation))
        finally:
            attempt.inference = time.monotonic() - begun

    def _send(self, attempt: _Attempt) -> None:
        now = self.clock.now()
        decision = self.guard.decide(attempt.observation, attempt.commanded, now)
        measured_at = number((attempt.observation or {}).get("time"))
        attempt.observation_age = None if measured_at is None else now - measured_at
        attempt.guarded, attempt.verdict = decision.action, decision.verdict
        attempt.reasons = decision.reasons
        if decision.action is not None:
            self.doing = "sending an action"
            attempt.sent = dict(self.robot.send_action(decision.action))
            self.guard.confirm(attempt.sent)
            if self.guard.status is Status.STOPPED:
                attempt.reasons += (self.guard.stop_reason,)

    def _keep(self, tick: Tick) -> None:
        self.doing = "recording"
        self.ticks.append(tick)
        if self.recorder is not None:
            self.recorder.record(tick)

    def finish(self) -> dict[str, Any] | None:
        """Take the observation after the last action; None where there is none to take."""
        if self.guard.status is not Status.ARMED:
            return None
        self.doing = "reading the robot"
        observation = self.robot.get_observation()
        self.guard.disarm()
        return observation


def run_episode(
    robot: Robot,
    guard: Guard,
    choose_action: ChooseAction,
    *,
    steps: int,
    recorder: Recorder | None = None,
    on_step: Callable[[Tick], None] | None = None,
) -> EpisodeResult:
    """Run one guarded episode.

    A disarmed guard is armed on the first observation; after the last step it is disarmed and the
    robot stays connected. When anything ends the episode early (the guard's stop, an exception of
    the policy, the robot, the recorder or ``on_step``, Ctrl-C) the guard's stop latches, the robot
    is disconnected, which brings it to its declared end state, and the partial episode is kept.

    Args:
        robot: A connected robot.
        guard: Made with limits of the same joints and rate; disarmed, or rearmed after a stop.
        choose_action: Called once per control step with the newest observation.
        steps: Control steps of the episode.
        recorder: Keeps every tick, also the one that fails.
        on_step: Called after each tick that was completed, for example to show progress.

    Returns:
        The result; ``stopped`` and ``error`` tell what went wrong.

    Raises:
        UserError: The robot is not connected, or the guard does not fit it or has stopped.
        KeyboardInterrupt: After the end state was reached and the recorder was given the rest.
    """
    _check_ready(robot, guard)
    error: BaseException | None = None
    failure: Exception | None = None
    final: dict[str, Any] | None = None
    with Interrupts() as interrupts:
        clock = clock_of(robot)
        run = _Run(robot, guard, choose_action, recorder, on_step, clock, interrupts)
        try:
            run.loop(steps)
            final = run.finish()
        except BaseException as caught:
            run.stop(caught)
            error = caught
        try:
            if guard.status is Status.STOPPED:
                failure = _end(robot)
        finally:
            if recorder is not None:
                recorder.finish(final)
    if error is not None and not isinstance(error, Exception):
        raise error
    return _result(run, error, failure)


def _check_ready(robot: Robot, guard: Guard) -> None:
    if not robot.is_connected:
        raise UserError(f"robot {robot.name!r} is not connected; call connect first")
    if tuple(guard.limits.joints) != tuple(robot.joints):
        raise UserError(
            f"the guard limits {', '.join(guard.limits.joints)} but robot {robot.name!r} has "
            f"{', '.join(robot.joints)}; use limits made for this robot"
        )
    if not math.isclose(guard.limits.control_hz, robot.control_hz):
        raise UserError(
            f"the limits are for {guard.limits.control_hz:g} Hz but robot {robot.name!r} runs at "
            f"{robot.control_hz:g} Hz; make them for its rate"
        )
    if guard.status is Status.STOPPED:
        raise UserError(f"the guard has stopped ({guard.stop_reason}); find out why, then rearm")


def _end(robot: Robot) -> Exception | None:
    """Bring the robot to its end state; return what kept it from it."""
    try:
        robot.disconnect()
    except Exception as error:
        log.error("robot %r did not reach its end state: %s", robot.name, error)
        return error
    return None


def _told(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted by Ctrl-C"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _result(run: _Run, error: Exception | None, failure: Exception | None) -> EpisodeResult:
    ticks, guard = run.ticks, run.guard
    stopped = guard.stop_reason if guard.status is Status.STOPPED else None
    if failure is not None:
        stopped = f"{stopped}; and the robot did not reach its end state: {_told(failure)}"
    sent = [tick for tick in ticks if tick.sent is not None]
    return EpisodeResult(
        ticks=len(ticks),
        sent=len(sent),
        clamped=sum(tick.verdict is Verdict.CLAMPED for tick in sent),
        held=sum(tick.verdict is Verdict.HELD for tick in ticks),
        stopped=stopped,
        error=error or failure,
        missed_deadlines=run.missed,
        latency={
            name: _percentiles([getattr(tick, name) for tick in ticks])
            for name in ("observation_age", "inference", "lateness")
        },
    )


def _percentiles(values: list[float | None]) -> dict[str, float]:
    known = [value for value in values if value is not None]
    if not known:
        return {}
    p50, p99 = np.percentile(known, [50, 99])
    return {"p50": float(p50), "p99": float(p99), "max": max(known)}
