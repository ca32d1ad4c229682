from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from embodied.types import Field
from real_robot.drivers.mujoco_robot import MujocoRobot, MujocoRobotConfig
from real_robot.guard import Guard
from real_robot.limits import JointLimit, Limits
from real_robot.recorder import Recorder

HZ = 20.0

SCENE = """
<mujoco model="three joints">
  <compiler angle="radian"/>
  <option timestep="0.005" integrator="implicitfast"/>
  <default>
    <joint type="hinge" damping="0.6" armature="0.03"/>
    <geom mass="0.1"/>
    <position kp="18" forcerange="-4 4"/>
  </default>
  <worldbody>
    <camera name="scene" pos="0.3 0 2"/>
    <geom type="plane" size="1 1 0.1"/>
    <body name="cube" pos="0.6 0 0.02">
      <freejoint/>
      <geom type="box" size="0.02 0.02 0.02"/>
    </body>
    <body name="base" pos="0 0 0.3">
      <joint name="pan" axis="0 0 1" range="-2 2"/>
      <geom type="capsule" fromto="0 0 0 0.1 0 0" size="0.02" contype="0" conaffinity="0"/>
      <body pos="0.1 0 0">
        <joint name="lift" axis="0 1 0" range="-1.5 1.5"/>
        <geom type="capsule" fromto="0 0 0 0.1 0 0" size="0.02" contype="0" conaffinity="0"/>
        <body pos="0.1 0 0">
          <joint name="wrist" axis="0 1 0" range="-1 1.2"/>
          <geom type="capsule" fromto="0 0 0 0.08 0 0" size="0.02" contype="0" conaffinity="0"/>
        </body>
      </body>
    </body>
    <body name="target" mocap="true"/>
  </worldbody>
  <actuator>
    <position name="c" joint="wrist"/>
    <position name="a" joint="pan"/>
    <position name="b" joint="lift"/>
  </actuator>
</mujoco>
"""
JOINTS = ("pan", "lift", "wrist")
RANGES = {"pan": (-2.0, 2.0), "lift": (-1.5, 1.5), "wrist": (-1.0, 1.2)}


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "three_joints.xml"
    path.write_text(SCENE)
    return path


@pytest.fixture
def config(scene: Path) -> MujocoRobotConfig:
    return MujocoRobotConfig(scene=scene, joints=JOINTS, objects=("cube",), control_hz=HZ)


@pytest.fixture
def robot(config: MujocoRobotConfig) -> MujocoRobot:
    robot = MujocoRobot(config)
    robot.connect()
    return robot


@pytest.fixture
def limits() -> Limits:
    joints = {name: JointLimit(low, high, max_step=0.1) for name, (low, high) in RANGES.items()}
    return Limits(joints=joints, control_hz=HZ)


class Faulty:
    """A robot with a log of its bus, and a fault that a test puts in."""

    def __init__(self, robot: MujocoRobot) -> None:
        self._robot = robot
        self.bus: list[dict[str, float]] = []
        self.disconnects = 0
        self.change: Callable[[int, dict[str, Any]], dict[str, Any]] = lambda read, seen: seen
        self.fail_send_at = -1
        self.fail_disconnect = False
        self._reads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._robot, name)

    def get_observation(self) -> dict[str, Any]:
        seen = self.change(self._reads, self._robot.get_observation())
        self._reads += 1
        return seen

    def send_action(self, action: Mapping[str, float]) -> dict[str, float]:
        if len(self.bus) == self.fail_send_at:
            raise ConnectionError("no status packet")
        self.bus.append(dict(action))
        return self._robot.send_action(action)

    def disconnect(self) -> None:
        self.disconnects += 1
        if self.fail_disconnect:
            raise ConnectionError("the bus is gone")
        self._robot.disconnect()


@pytest.fixture
def faulty(robot: MujocoRobot) -> Faulty:
    return Faulty(robot)


@pytest.fixture
def guard(limits: Limits) -> Guard:
    return Guard(limits)


@pytest.fixture
def recorder(faulty: Faulty, tmp_path: Path) -> Recorder:
    return Recorder(tmp_path / "trace.jsonl", faulty)


class Scripted:
    """A robot without physics on a clock that a test moves; reading and sending take no time."""

    name = "scripted"
    control_hz = 10.0
    joints = ("a",)
    is_connected = True

    def __init__(self) -> None:
        self.clock = self
        self.time = 0.0
        self.position = 0.0
        self.sent_at: list[float] = []
        self.bus: list[dict[str, float]] = []

    @property
    def observation_features(self) -> dict[str, Field]:
        return {"a.pos": Field((), "rad", ""), "a.vel": Field((), "rad/s", "")} | {
            "time": Field((), "s", "")
        }

    @property
    def action_features(self) -> dict[str, Field]:
        return {"a.pos": Field((), "rad", "", "", (-1.0,), (1.0,))}

    def now(self) -> float:
        return self.time

    def sleep_until(self, deadline: float) -> None:
        self.time = max(self.time, deadline)

    def connect(self) -> None: ...

    def disconnect(self) -> None:
        self.is_connected = False

    def get_observation(self) -> dict[str, Any]:
        return {"a.pos": self.position, "a.vel": 0.0, "time": self.time}

    def send_action(self, action: Mapping[str, float]) -> dict[str, float]:
        self.bus.append(dict(action))
        self.sent_at.append(self.time)
        self.position = action["a.pos"]
        return dict(action)


@pytest.fixture
def scripted() -> type[Scripted]:
    return Scripted
