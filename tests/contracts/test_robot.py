"""What every robot must do; another robot is one more line in ROBOTS.

A maker is given a folder for files and returns a robot that is not connected and safe to move.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embodied.errors import UserError
from embodied.types import Robot
from real_robot.clock import clock_of

SCENE = """
<mujoco>
  <compiler angle="radian"/>
  <option timestep="0.01"/>
  <worldbody>
    <body name="cube" pos="0.5 0 0.5">
      <freejoint/>
      <geom size="0.02"/>
    </body>
    <body>
      <joint name="shoulder" axis="0 0 1" range="-1 1" damping="1"/>
      <geom type="capsule" fromto="0 0 0 0.1 0 0" size="0.01"/>
      <body pos="0.1 0 0">
        <joint name="elbow" axis="0 0 1" range="-0.5 2" damping="1"/>
        <geom type="capsule" fromto="0 0 0 0.1 0 0" size="0.01"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <position joint="shoulder" kp="10"/>
    <position joint="elbow" kp="10"/>
  </actuator>
</mujoco>
"""


def mujoco_robot(folder: Path, real_time: bool) -> Robot:
    from real_robot.drivers.mujoco_robot import MujocoRobot, MujocoRobotConfig

    scene = folder / "scene.xml"
    scene.write_text(SCENE)
    joints = ("shoulder", "elbow")
    return MujocoRobot(MujocoRobotConfig(scene, joints, ("cube",), 50.0, real_time))


ROBOTS: dict[str, Callable[[Path], Robot]] = {
    "mujoco in lock step": lambda folder: mujoco_robot(folder, real_time=False),
    "mujoco in real time": lambda folder: mujoco_robot(folder, real_time=True),
}


@pytest.fixture(params=ROBOTS.values(), ids=ROBOTS)
def robot(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Robot]:
    robot = request.param(tmp_path)
    yield robot
    robot.disconnect()


def hold(observation: dict[str, Any], robot: Robot) -> dict[str, float]:
    return {key: observation[key] for key in robot.action_features}


def test_it_is_a_robot(robot: Robot) -> None:
    assert isinstance(robot, Robot)
    assert robot.name
    assert robot.control_hz > 0
    assert len(set(robot.joints)) == len(robot.joints) > 0


def test_features_are_declared_before_connection(robot: Robot) -> None:
    assert not robot.is_connected
    features = robot.observation_features
    assert "time" in features
    for name in robot.joints:
        assert features[f"{name}.pos"].unit == "rad"
        assert features[f"{name}.vel"].unit == "rad/s"
    for key, field in features.items():
        if key.endswith((".position", ".velocity")):
            assert field.shape == (3,)
            assert field.frame == "world"
    assert list(robot.action_features) == [f"{name}.pos" for name in robot.joints]


def test_limits_are_declared(robot: Robot) -> None:
    for field in robot.action_features.values():
        assert field.unit == "rad"
        assert field.low is not None
        assert field.high is not None
        assert -math.inf < field.low[0] < field.high[0] < math.inf


def test_observations_are_what_was_declared(robot: Robot) -> None:
    robot.connect()
    observation = robot.get_observation()
    features = robot.observation_features
    assert set(observation) == set(features)
    for key, field in features.items():
        value = np.asarray(observation[key])
        assert value.shape == field.shape
        assert np.isfinite(value).all()


def test_an_observation_is_not_changed_by_what_comes_later(robot: Robot) -> None:
    robot.connect()
    observation = robot.get_observation()
    before = {key: np.array(value) for key, value in observation.items()}
    for _ in range(3):
        robot.send_action(hold(observation, robot))
        robot.get_observation()
    for key, value in before.items():
        np.testing.assert_array_equal(observation[key], value)


def test_time_is_on_the_robots_clock_and_never_goes_back(robot: Robot) -> None:
    robot.connect()
    clock = clock_of(robot)
    newest = -math.inf
    for _ in range(5):
        observation = robot.get_observation()
        assert newest <= observation["time"] <= clock.now()
        newest = observation["time"]
        robot.send_action(hold(observation, robot))


def test_send_action_returns_what_was_sent_within_the_limits(robot: Robot) -> None:
    robot.connect()
    holding = hold(robot.get_observation(), robot)
    assert robot.send_action(holding) == pytest.approx(holding)
    sent = robot.send_action(dict.fromkeys(robot.action_features, 1000000.0))
    for key, field in robot.action_features.items():
        assert type(sent[key]) is float
        assert field.low is not None
        assert field.high is not None
        assert field.low[0] <= sent[key] <= field.high[0]


@pytest.mark.parametrize("value", [math.nan, math.inf, "0", None, True])
def test_what_is_no_finite_number_is_refused(robot: Robot, value: Any) -> None:
    robot.connect()
    action = hold(robot.get_observation(), robot)
    with pytest.raises(UserError):
        robot.send_action({**action, next(iter(action)): value})


def test_missing_and_extra_keys_are_refused(robot: Robot) -> None:
    robot.connect()
    action = hold(robot.get_observation(), robot)
    with pytest.raises(UserError):
        robot.send_action({**action, "tail.pos": 0.0})
    action.popitem()
    with pytest.raises(UserError):
        robot.send_action(action)


def test_use_before_connect_is_a_users_mistake(robot: Robot) -> None:
    with pytest.raises(UserError, match="connect"):
        robot.get_observation()
    with pytest.raises(UserError, match="connect"):
        robot.send_action(dict.fromkeys(robot.action_features, 0.0))


def test_connecting_twice_is_a_users_mistake(robot: Robot) -> None:
    robot.connect()
    with pytest.raises(UserError, match="connected already"):
        robot.connect()


def test_disconnect_may_be_called_at_any_time_and_connect_again(robot: Robot) -> None:
    robot.disconnect()
    robot.connect()
    assert robot.is_connected
    robot.disconnect()
    robot.disconnect()
    assert not robot.is_connected
    robot.connect()
    assert set(robot.get_observation()) == set(robot.observation_features)
