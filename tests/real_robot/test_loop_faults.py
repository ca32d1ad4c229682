from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from embodied.errors import UserError
from real_robot.drivers.mujoco_robot import MujocoRobot
from real_robot.guard import Guard, Status
from real_robot.loop import run_episode
from real_robot.recorder import Recorder
from real_robot.tick import Tick


def hold(observation: dict[str, Any]) -> dict[str, float]:
    return {f"{name}.pos": 0.0 for name in ("pan", "lift", "wrist")}


def at_step(step: int, then: Callable[[], Any]) -> Callable[[dict[str, Any]], Any]:
    calls = iter(range(1000))

    def choose(observation: dict[str, Any]) -> Any:
        return then() if next(calls) >= step else hold(observation)

    return choose


def fail() -> None:
    raise ValueError("shapes (3,)\nand (4,) do not match")


def trace(recorder: Recorder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recorder.path.read_text().splitlines()]


def check_end_state(faulty: Any, guard: Guard, recorder: Recorder) -> None:
    """Stopped and latched, disconnected once, and every motion on the bus is in the trace."""
    assert guard.status is Status.STOPPED
    assert faulty.disconnects == 1
    assert [line["sent"] for line in trace(recorder) if line["sent"]] == faulty.bus
    limits = guard.limits.joints
    for before, after in zip(faulty.bus, faulty.bus[1:], strict=False):
        for name, joint in limits.items():
            key = f"{name}.pos"
            assert joint.low <= after[key] <= joint.high
            assert abs(after[key] - before[key]) <= joint.max_step + 1e-12


def test_a_policy_that_raises_stops_the_arm(faulty: Any, guard: Guard, recorder: Recorder) -> None:
    result = run_episode(faulty, guard, at_step(4, fail), steps=10, recorder=recorder)
    reason = "ValueError: shapes (3,) and (4,) do not match while choosing an action"
    assert result.stopped == reason
    assert isinstance(result.error, ValueError)
    assert (result.ticks, result.sent) == (5, 4)
    check_end_state(faulty, guard, recorder)
    last = trace(recorder)[-1]
    assert (last["commanded"], last["sent"], last["reasons"]) == (None, None, [reason])
    assert recorder.episode()["sent"].shape == (4, 3)


@pytest.mark.parametrize("value", [math.nan, math.inf, "0.1", None])
def test_a_policy_that_turns_to_nonsense_holds_and_stops(
    faulty: Any, guard: Guard, recorder: Recorder, value: Any
) -> None:
    def nonsense() -> Any:
        return {"pan.pos": value, "lift.pos": 0.0, "wrist.pos": 0.0}

    result = run_episode(faulty, guard, at_step(4, nonsense), steps=10, recorder=recorder)
    assert result.stopped is not None
    assert "3 refusals in a row" in result.stopped
    assert "pan.pos" in result.stopped
    assert result.error is None
    assert (result.ticks, result.sent, result.held) == (7, 6, 2)
    check_end_state(faulty, guard, recorder)
    assert faulty.bus[4:] == [faulty.bus[3]] * 2
    assert [line["commanded"]["pan.pos"] for line in trace(recorder)[4:]] == [None] * 3
    assert recorder.episode()["sent"].shape == (6, 3)


def test_observations_that_freeze_hold_and_stop(
    faulty: Any, guard: Guard, recorder: Recorder
) -> None:
    frozen: dict[str, Any] = {}

    def freeze(read: int, seen: dict[str, Any]) -> dict[str, Any]:
        if read == 4:
            frozen.update(seen)
        return frozen or seen

    faulty.change = freeze
    # It reacts to what it sees, so it would go on moving.
    forward = lambda seen: {**hold(seen), "pan.pos": seen["pan.pos"] + 0.05}  # noqa: E731
    result = run_episode(faulty, guard, forward, steps=50, recorder=recorder)
    assert result.stopped is not None
    assert "old" in result.stopped
    check_end_state(faulty, guard, recorder)
    # At most the two control periods that an observation may be old.
    assert sum(line["verdict"] != "held" for line in trace(recorder) if line["sent"]) <= 4 + 3
    assert len(recorder.episode()["sent"]) == 4


def test_observations_that_are_late_stop(faulty: Any, guard: Guard, recorder: Recorder) -> None:
    late: list[dict[str, Any]] = []

    def delay(read: int, seen: dict[str, Any]) -> dict[str, Any]:
        late.append(seen)
        return late[read] if read < 4 else late[read - 3]

    faulty.change = delay
    result = run_episode(faulty, guard, hold, steps=50, recorder=recorder)
    assert result.stopped is not None
    assert "3 refusals in a row" in result.stopped
    assert (result.ticks, result.held) == (7, 2)
    check_end_state(faulty, guard, recorder)


@pytest.mark.parametrize(
    "broken", [{}, {"pan.pos": math.nan}, {"time": -1.0}, {"time": 1e9}], ids=str
)
def test_observations_that_break_hold_and_stop(
    faulty: Any, guard: Guard, recorder: Recorder, broken: dict[str, Any]
) -> None:
    faulty.change = lambda read, seen: seen if read < 3 else ({**seen, **broken} if broken else {})
    result = run_episode(faulty, guard, hold, steps=50, recorder=recorder)
    assert (result.ticks, result.held) == (6, 2)
    check_end_state(faulty, guard, recorder)
    for column in recorder.episode().values():
        assert np.isfinite(column).all()


def test_a_robot_that_raises_on_send_stops(faulty: Any, guard: Guard, recorder: Recorder) -> None:
    faulty.fail_send_at = 3
    result = run_episode(faulty, guard, hold, steps=10, recorder=recorder)
    assert result.stopped == "ConnectionError: no status packet while sending an action"
    check_end_state(faulty, guard, recorder)
    last = trace(recorder)[-1]
    assert last["guarded"] == hold({})
    assert last["sent"] is None


def test_a_robot_that_raises_on_reading_stops(
    faulty: Any, guard: Guard, recorder: Recorder
) -> None:
    def unplug(read: int, seen: dict[str, Any]) -> dict[str, Any]:
        if read == 3:
            raise ConnectionError("port closed")
        return seen

    faulty.change = unplug
    result = run_episode(faulty, guard, hold, steps=10, recorder=recorder)
    assert result.stopped == "ConnectionError: port closed while reading the robot"
    check_end_state(faulty, guard, recorder)
    assert len(recorder.episode()["sent"]) == 2


def test_a_robot_that_reports_another_action_stops(
    faulty: Any, guard: Guard, recorder: Recorder, robot: MujocoRobot
) -> None:
    faulty.send_action = lambda action: {**robot.send_action(action), "pan.pos": 1.0}
    result = run_episode(faulty, guard, hold, steps=10, recorder=recorder)
    assert result.stopped == "the robot sent pan.pos 1 instead of 0"
    assert (result.ticks, result.sent, faulty.disconnects) == (1, 1, 1)


def test_an_end_state_that_is_not_reached_is_told(
    faulty: Any, guard: Guard, recorder: Recorder
) -> None:
    faulty.fail_send_at = 3
    faulty.fail_disconnect = True
    result = run_episode(faulty, guard, hold, steps=10, recorder=recorder)
    assert str(result.stopped).endswith(
        "and the robot did not reach its end state: ConnectionError: the bus is gone"
    )
    assert str(result.error) == "no status packet"
    check_end_state(faulty, guard, recorder)


def test_an_arm_outside_its_limits_does_not_start(
    faulty: Any, guard: Guard, recorder: Recorder
) -> None:
    faulty.change = lambda read, seen: {**seen, "lift.pos": 1.6}
    result = run_episode(faulty, guard, hold, steps=10, recorder=recorder)
    assert "lift is at 1.600 rad" in str(result.stopped)
    assert faulty.bus == []
    check_end_state(faulty, guard, recorder)


def test_a_stop_outlives_the_episode(faulty: Any, guard: Guard) -> None:
    run_episode(faulty, guard, fail_once, steps=2)
    with pytest.raises(UserError, match="not connected"):
        run_episode(faulty, guard, hold, steps=2)
    faulty.connect()
    with pytest.raises(UserError, match="rearm"):
        run_episode(faulty, guard, hold, steps=2)
    guard.rearm(faulty.get_observation(), faulty.clock.now())
    assert run_episode(faulty, guard, hold, steps=2).stopped is None


def fail_once(observation: dict[str, Any]) -> dict[str, float]:
    raise RuntimeError("once")


def test_a_callback_that_fails_stops(faulty: Any, guard: Guard, recorder: Recorder) -> None:
    result = run_episode(
        faulty, guard, hold, steps=5, recorder=recorder, on_step=lambda tick: fail()
    )
    assert str(result.stopped).endswith("while reporting a step")
    check_end_state(faulty, guard, recorder)


def test_a_recorder_that_fails_stops(
    faulty: Any, guard: Guard, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tick: Tick) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorder, "record", full)
    result = run_episode(faulty, guard, hold, steps=5, recorder=recorder)
    assert "No space left on device while recording" in str(result.stopped)
    assert (faulty.disconnects, guard.status) == (1, Status.STOPPED)
