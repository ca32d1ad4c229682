from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from real_robot.drivers.mujoco_robot import MujocoRobot
from real_robot.guard import Verdict
from real_robot.recorder import Recorder
from real_robot.tick import Tick

JOINTS = ("pan", "lift", "wrist")


def observed(step: float, **changes: Any) -> dict[str, Any]:
    joints = {f"{name}.{kind}": step for name in JOINTS for kind in ("pos", "vel")}
    cube = {"cube.position": np.full(3, step), "cube.velocity": np.zeros(3)}
    return {**joints, **cube, "time": step, **changes}


def targets(value: float) -> dict[str, float]:
    return {f"{name}.pos": value for name in JOINTS}


def tick(index: int, observation: Any = ..., sent: Any = ..., commanded: Any = ...) -> Tick:
    return Tick(
        index=index,
        started_at=float(index),
        lateness=0.0,
        observation=observed(index) if observation is ... else observation,
        commanded=targets(index + 10) if commanded is ... else commanded,
        guarded=targets(index + 20),
        sent=targets(index + 20) if sent is ... else sent,
        verdict=Verdict.CLAMPED,
        reasons=("because",),
        inference=0.001,
        observation_age=0.0,
    )


@pytest.fixture
def recorder(robot: MujocoRobot, tmp_path: Path) -> Recorder:
    return Recorder(tmp_path / "episode" / "trace.jsonl", robot)


def lines(recorder: Recorder) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = recorder.path.read_text()
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_an_episode_has_one_more_observation_than_actions(recorder: Recorder) -> None:
    for index in range(3):
        recorder.record(tick(index))
    recorder.finish(observed(3))
    episode = recorder.episode()
    assert {name: column.shape for name, column in episode.items()} == {
        "time": (4,),
        "joint_position": (4, 3),
        "joint_velocity": (4, 3),
        "cube_position": (4, 3),
        "cube_velocity": (4, 3),
        "commanded": (3, 3),
        "sent": (3, 3),
    }
    np.testing.assert_array_equal(episode["joint_position"][:, 1], [0, 1, 2, 3])
    np.testing.assert_array_equal(episode["cube_position"][:, 2], [0, 1, 2, 3])
    np.testing.assert_array_equal(episode["commanded"][:, 0], [10, 11, 12])
    np.testing.assert_array_equal(episode["sent"][:, 0], [20, 21, 22])
    assert all(column.dtype == np.float64 for column in episode.values())


def test_every_tick_is_on_disk_before_the_next(recorder: Recorder) -> None:
    for index in range(3):
        recorder.record(tick(index))
        assert [line["index"] for line in lines(recorder)] == list(range(index + 1))
    line = lines(recorder)[1]
    assert line["commanded"] == targets(11)
    assert line["guarded"] == line["sent"] == targets(21)
    assert (line["verdict"], line["reasons"]) == ("clamped", ["because"])
    assert (line["observed_at"], line["started_at"], line["inference"]) == (1, 1, 0.001)


@pytest.mark.parametrize(
    ("commanded", "written"),
    [
        ({"pan.pos": math.nan, "lift.pos": math.inf}, {"pan.pos": None, "lift.pos": None}),
        ({"pan.pos": "left", 3: [1.0]}, {"pan.pos": None, "3": None}),
        ({"pan.pos": np.float32(0.5), "lift.pos": 10**400}, {"pan.pos": 0.5, "lift.pos": None}),
        (None, None),
        ([1.0, 2.0], None),
    ],
)
def test_whatever_was_commanded_the_trace_is_json(
    recorder: Recorder, commanded: Any, written: Any
) -> None:
    recorder.record(tick(0, commanded=commanded))
    assert lines(recorder)[0]["commanded"] == written
    recorder.finish(observed(1))
    row = recorder.episode()["commanded"][0]
    finite = [] if written is None else [value for value in written.values() if value is not None]
    np.testing.assert_array_equal(row[~np.isnan(row)], finite)


def test_a_blocked_tick_ends_the_episode_with_its_observation(recorder: Recorder) -> None:
    recorder.record(tick(0))
    recorder.record(tick(1))
    recorder.record(tick(2, sent=None))
    recorder.finish(None)
    episode = recorder.episode()
    np.testing.assert_array_equal(episode["time"], [0, 1, 2])
    assert len(episode["sent"]) == 2


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "nothing",
        {"time": 2.0},
        observed(2, **{"lift.pos": math.nan}),
        observed(2, **{"lift.vel": "fast"}),
        observed(2, **{"cube.position": np.zeros(2)}),
        observed(2, time=1.0),
        observed(2, time=0.5),
    ],
)
def test_data_ends_before_an_observation_that_tells_nothing_new(
    recorder: Recorder, bad: Any
) -> None:
    recorder.record(tick(0))
    recorder.record(tick(1))
    recorder.record(tick(2, observation=bad))
    recorder.record(tick(3))
    recorder.finish(observed(4))
    episode = recorder.episode()
    # The outcome of the second action was not seen.
    np.testing.assert_array_equal(episode["time"], [0, 1])
    np.testing.assert_array_equal(episode["sent"][:, 0], [20])
    assert len(lines(recorder)) == 4


@pytest.mark.parametrize("final", [None, observed(0.0)])
def test_an_episode_without_an_outcome_is_empty(recorder: Recorder, final: Any) -> None:
    recorder.record(tick(0))
    recorder.finish(final)
    episode = recorder.episode()
    assert episode["time"].shape == (0,)
    assert episode["joint_position"].shape == episode["sent"].shape == (0, 3)
    assert episode["cube_position"].shape == (0, 3)


def test_it_closes_more_than_once(recorder: Recorder) -> None:
    with recorder:
        recorder.finish(None)
    recorder.close()
