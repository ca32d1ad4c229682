"""One control step, as it is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from real_robot.guard import Verdict


@dataclass(frozen=True)
class Tick:
    """What one control step saw, wanted, was allowed and did.

    Attributes:
        index: Step of the episode, from 0.
        started_at: When the step began, s on the robot's clock.
        lateness: How long after its deadline that was, s.
        observation: As the robot returned it; None when it raised.
        commanded: As ``choose_action`` returned it, untrusted; None when it raised.
        guarded: Joint targets that the guard let through or held, rad; None when it sent nothing.
        sent: Joint targets that the robot reports as really sent, rad; None when nothing was sent
            or when sending raised, in which case it is unknown whether the arm took ``guarded``.
        verdict: The guard's verdict.
        reasons: Why it was clamped, held or blocked, or what was raised.
        inference: Time spent in ``choose_action``, s on the machine's monotonic clock.
        observation_age: Age of the observation when the guard decided, s on the robot's clock.
    """

    index: int
    started_at: float
    lateness: float
    observation: Mapping[str, Any] | None
    commanded: Any
    guarded: Mapping[str, float] | None
    sent: Mapping[str, float] | None
    verdict: Verdict
    reasons: tuple[str, ...]
    inference: float | None
    observation_age: float | None
