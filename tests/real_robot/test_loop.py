from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embodied.errors import UserError
from real_robot.drivers.mujoco_robot import MujocoRobot
from real_robot.guard import Guard, Status
from real_robot.limits import JointLimit, Limits
from real_robot.loop import EpisodeResult, run_episode
from real_robot.recorder import Recorder
from real_robot.tick import Tick

STEP = 0.1
HZ = 20.0


def hold(observation: dict[str, Any]) -> dict[str, float]:
    return {f"{name}.pos": 0.0 for name in ("pan", "lift", "wrist")}


def trace(recorder: Recorder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recorder.path.read_text().splitlines()]


def test_an_episode_runs_to_its_end(faulty: Any, guard: Guard, recorder: Recorder) -> None:
    seen: list[Tick] = []
    goal = {"pan.pos": 0.55, "lift.pos": -0.15, "wrist.pos": 0.0}
    result = run_episode(
        faulty, guard, lambda observation: goal, steps=12, recorder=recorder, on_step=seen.append
    )
    assert isinstance(result, EpisodeResult)
    assert (result.ticks, result.sent, result.held, result.stopped) == (12, 12, 0, None)
    # 0.55 rad in steps of 0.1: five are clamped.
    assert result.clamped == 5
    assert [tick.verdict for tick in seen] == ["clamped"] * 5 + ["passed"] * 7
    assert [tick.index for tick in seen] == list(range(12))
    assert guard.status is Status.DISARMED
    assert faulty.is_connected
    episode = recorder.episode()
    np.testing.assert_allclose(np.diff(episode["time"]), 1 / HZ)
    assert episode["sent"].shape == (12, 3)
    np.testing.assert_array_equal(episode["commanded"][:, 0], np.full(12, 0.55))
    assert [line["sent"] for line in trace(recorder)] == faulty.bus
    assert episode["joint_position"][-1, 0] == faulty.get_observation()["pan.pos"]


def test_in_lock_step_no_deadline_is_missed_and_no_observation_ages(
    faulty: Any, guard: Guard
) -> None:
    result = run_episode(faulty, guard, hold, steps=300)
    assert result.missed_deadlines == 0
    assert result.latency["observation_age"]["max"] == 0.0
    assert result.latency["lateness"]["max"] < 1e-9
    assert set(result.latency["inference"]) == {"p50", "p99", "max"}


def test_episodes_can_follow_each_other(faulty: Any, guard: Guard) -> None:
    for _ in range(2):
        assert run_episode(faulty, guard, hold, steps=3).stopped is None


def test_a_policy_that_empties_its_observation_harms_no_record(
    faulty: Any, guard: Guard, recorder: Recorder
) -> None:
    def choose(observation: dict[str, Any]) -> dict[str, float]:
        observation.clear()
        return hold(observation)

    assert run_episode(faulty, guard, choose, steps=3, recorder=recorder).stopped is None
    assert len(recorder.episode()["sent"]) == 3


def test_a_first_command_far_away_is_reached_in_steps(
    faulty: Any, guard: Guard, recorder: Recorder
) -> None:
    far = {"pan.pos": 2.0, "lift.pos": 0.0, "wrist.pos": 0.0}
    result = run_episode(faulty, guard, lambda seen: far, steps=25, recorder=recorder)
    assert result.stopped is None
    sent = recorder.episode()["sent"][:, 0]
    np.testing.assert_allclose(sent[:20], STEP * np.arange(1, 21))
    np.testing.assert_allclose(sent[20:], 2.0)


def test_limits_of_another_arm_or_rate_are_a_users_mistake(
    faulty: Any, guard: Guard, limits: Limits
) -> None:
    names = Limits(joints={"elbow": JointLimit(-1, 1, 0.1)}, control_hz=HZ)
    with pytest.raises(UserError, match="limits elbow but robot 'mujoco' has pan, lift, wrist"):
        run_episode(faulty, Guard(names), hold, steps=1)
    with pytest.raises(UserError, match="10 Hz but robot 'mujoco' runs at 20 Hz"):
        run_episode(faulty, Guard(Limits(limits.joints, control_hz=10.0)), hold, steps=1)


def scripted_limits(max_age: float | None = None) -> Limits:
    return Limits({"a": JointLimit(-1.0, 1.0, 0.1)}, control_hz=10.0, max_age=max_age)


def test_ticks_keep_to_a_grid_of_deadlines_and_an_overrun_skips_some(scripted: Any) -> None:
    robot = scripted()
    durations = iter([0.03, 0.05, 0.13, 0.01, 0.0, 0.31, 0.02, 0.0])

    def choose(observation: dict[str, Any]) -> dict[str, float]:
        robot.time += next(durations)
        return {"a.pos": 0.0}

    started: list[float] = []
    result = run_episode(
        robot,
        Guard(scripted_limits(max_age=1.0)),
        choose,
        steps=8,
        on_step=lambda tick: started.append(tick.started_at),
    )
    assert started == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.5, 0.6, 1.0, 1.1])
    assert result.missed_deadlines == 1 + 3
    assert result.latency["observation_age"]["max"] == pytest.approx(0.31)
    assert result.latency["lateness"]["max"] == pytest.approx(0.0)


def test_a_slow_policy_acts_on_nothing_stale(scripted: Any) -> None:
    robot = scripted()
    durations = iter([0.01, 0.25, 0.01, 0.25, 0.25, 0.25])

    def choose(observation: dict[str, Any]) -> dict[str, float]:
        robot.time += next(durations)
        return {"a.pos": robot.position + 0.05}

    result = run_episode(robot, Guard(scripted_limits()), choose, steps=10)
    assert [action["a.pos"] for action in robot.bus] == pytest.approx([0.05, 0.05, 0.1, 0.1, 0.1])
    assert (result.ticks, result.held) == (6, 3)
    assert "old" in str(result.stopped)


def test_a_real_time_episode_takes_its_time(robot: MujocoRobot, config: Any, limits: Any) -> None:
    real = MujocoRobot(replace(config, real_time=True))
    real.connect()
    begun = time.monotonic()
    guard = Guard(replace(limits, max_age=10.0))
    result = run_episode(real, guard, hold, steps=6)
    # Sleeping never ends early; how late it ends is the machine's affair.
    assert time.monotonic() - begun >= 6 / HZ
    assert result.stopped is None
    assert real.get_observation()["time"] <= time.monotonic()
