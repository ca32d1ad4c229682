"""The clock that observations, the guard and the loop share: monotonic time or simulated time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from embodied.types import Robot


@runtime_checkable
class Clock(Protocol):
    """Seconds that never go back. Wall-clock time jumps and has no place in a control path."""

    def now(self) -> float:
        """Return the present time in s."""
        ...

    def sleep_until(self, deadline: float) -> None:
        """Return at ``deadline`` (s on this clock), or at once when it has passed."""
        ...


class MonotonicClock:
    """``time.monotonic``, paced on absolute deadlines so that errors do not add up."""

    def now(self) -> float:
        """Return ``time.monotonic()``."""
        return time.monotonic()

    def sleep_until(self, deadline: float) -> None:
        """Sleep for what is left until ``deadline``."""
        left = deadline - time.monotonic()
        if left > 0:
            time.sleep(left)


class LockStepClock:
    """A simulator's own time, which advances only when an action is sent; never sleeps."""

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read

    def now(self) -> float:
        """Return the simulated time."""
        return self._read()

    def sleep_until(self, deadline: float) -> None:
        """Return at once: waiting cannot make simulated time pass."""


def clock_of(robot: Robot) -> Clock:
    """Return the ``clock`` that a robot declares, else the monotonic clock.

    ``Robot`` leaves the clock out because hardware has only one answer; a simulated robot in lock
    step declares its own.
    """
    clock = getattr(robot, "clock", None)
    return clock if isinstance(clock, Clock) else MonotonicClock()
