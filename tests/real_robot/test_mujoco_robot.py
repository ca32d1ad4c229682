from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest

from embodied.errors import UserError
from embodied.registry import NAMES
from embodied.render import available
from real_robot.clock import LockStepClock, MonotonicClock
from real_robot.drivers.mujoco_robot import MujocoRobot, MujocoRobotConfig

START = np.array([0.6, 0.1, 0.02, 1, 0, 0, 0, 0.5, -0.25, 1.0])
GOAL = np.array([0.1, 0.2, 0.3])


def action(pan: float, lift: float, wrist: float) -> dict[str, float]:
    return {"pan.pos": pan, "lift.pos": lift, "wrist.pos": wrist}


def drive(robot: MujocoRobot, steps: int) -> None:
    for _ in range(steps):
        robot.send_action(action(2.0, -1.5, 1.0))


class FakeClock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def sleep_until(self, deadline: float) -> None:
        self.time = max(self.time, deadline)


def test_it_reads_joints_by_name_and_objects_in_the_world(robot: MujocoRobot) -> None:
    robot.place(START, GOAL)
    observation = robot.get_observation()
    assert [observation[f"{name}.pos"] for name in ("pan", "lift", "wrist")] == [0.5, -0.25, 1.0]
    assert [observation[f"{name}.vel"] for name in ("pan", "lift", "wrist")] == [0.0, 0.0, 0.0]
    np.testing.assert_array_equal(observation["cube.position"], START[:3])
    np.testing.assert_array_equal(observation["cube.velocity"], np.zeros(3))


def test_it_moves_as_the_same_physics_without_the_robot_does(
    robot: MujocoRobot, scene: Path
) -> None:
    model = mujoco.MjModel.from_xml_path(str(scene))
    data = mujoco.MjData(model)
    data.qpos[:] = START
    robot.place(START)
    for step in range(20):
        wanted = action(0.5 - 0.05 * step, 0.02 * step, 1.0)
        robot.send_action(wanted)
        # The scene names its actuators in another order than its joints.
        data.actuator("a").ctrl = wanted["pan.pos"]
        data.actuator("b").ctrl = wanted["lift.pos"]
        data.actuator("c").ctrl = wanted["wrist.pos"]
        mujoco.mj_step(model, data, 10)
    observation = robot.get_observation()
    for name in ("pan", "lift", "wrist"):
        assert observation[f"{name}.pos"] == data.joint(name).qpos[0]
        assert observation[f"{name}.vel"] == data.joint(name).qvel[0]
    np.testing.assert_array_equal(observation["cube.position"], data.qpos[:3])
    np.testing.assert_array_equal(observation["cube.velocity"], data.qvel[:3])
    assert observation["cube.velocity"].any()


def test_lock_step_time_passes_only_when_an_action_is_sent(robot: MujocoRobot) -> None:
    assert isinstance(robot.clock, LockStepClock)
    robot.clock.sleep_until(1e9)
    assert robot.clock.now() == robot.get_observation()["time"] == 0.0
    robot.send_action(action(0, 0, 0))
    assert robot.clock.now() == robot.get_observation()["time"] == pytest.approx(0.05)


def test_placing_holds_the_new_position_and_leaves_time_alone(robot: MujocoRobot) -> None:
    for _ in range(4):
        robot.send_action(action(1.0, 1.0, 1.0))
    robot.place(START, GOAL)
    observation = robot.get_observation()
    assert observation["time"] == pytest.approx(0.2)
    for _ in range(20):
        robot.send_action({key: observation[key] for key in robot.action_features})
    assert robot.get_observation()["pan.pos"] == pytest.approx(0.5, abs=1e-3)


def test_two_episodes_from_one_start_are_the_same(robot: MujocoRobot) -> None:
    ends = []
    for _ in range(2):
        robot.place(START, GOAL)
        for step in range(10):
            robot.send_action(action(0.1 * step, 0.0, 0.0))
        end = robot.get_observation()
        del end["time"]
        ends.append(np.concatenate([np.atleast_1d(value) for value in end.values()]))
    np.testing.assert_array_equal(ends[0], ends[1])


def test_real_time_simulates_what_has_passed_and_nothing_more(config: MujocoRobotConfig) -> None:
    robot = MujocoRobot(replace(config, real_time=True))
    assert isinstance(robot.clock, MonotonicClock)
    clock = robot.clock = FakeClock()
    lock_step = MujocoRobot(config)
    for one in (robot, lock_step):
        one.place(START)
        one.connect()
    target = action(0.0, 0.0, 0.0)
    for _ in range(5):
        robot.send_action(target)
        lock_step.send_action(target)
        clock.time += 0.05 + 1e-9
    seen, expected = robot.get_observation(), lock_step.get_observation()
    assert seen["pan.pos"] == expected["pan.pos"]
    assert seen["time"] == pytest.approx(1000.25)
    assert 0 <= clock.now() - seen["time"] < 0.005
    clock.time += 0.0049
    assert robot.get_observation()["time"] == seen["time"]


def test_no_time_passes_for_a_disconnected_plant(config: MujocoRobotConfig) -> None:
    robot = MujocoRobot(replace(config, real_time=True))
    clock = robot.clock = FakeClock()
    robot.connect()
    clock.time += 1.0
    before = robot.get_observation()
    robot.disconnect()
    clock.time += 100.0
    robot.connect()
    after = robot.get_observation()
    assert after["lift.pos"] == before["lift.pos"]
    assert after["time"] == pytest.approx(clock.time, abs=0.005)


def test_the_end_state_holds_the_last_targets(robot: MujocoRobot) -> None:
    for _ in range(30):
        robot.send_action(action(1.0, 0.0, 0.0))
    robot.disconnect()
    robot.connect()
    robot.send_action(action(1.0, 0.0, 0.0))
    assert robot.get_observation()["pan.pos"] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("qpos", "goal", "message"),
    [
        (START[:-1], None, "10 finite numbers"),
        (np.full(10, np.nan), None, "10 finite numbers"),
        (START, np.zeros(2), "three finite numbers"),
        (START, np.array([0, 0, np.inf]), "three finite numbers"),
    ],
)
def test_a_wrong_start_is_a_users_mistake(
    robot: MujocoRobot, qpos: Any, goal: Any, message: str
) -> None:
    before = robot.get_observation()
    with pytest.raises(UserError, match=message):
        robot.place(qpos, goal)
    assert robot.get_observation()["pan.pos"] == before["pan.pos"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scene": Path("nowhere.xml")}, "nowhere.xml is missing"),
        ({"joints": ("pan", "tail")}, "no hinge joint 'tail'"),
        ({"joints": ("pan", "pan")}, "once"),
        ({"joints": ()}, "name each joint"),
        ({"objects": ("base",)}, "no free body 'base'"),
        ({"objects": ("ball",)}, "no free body 'ball'"),
        ({"control_hz": 0.0}, "positive"),
        ({"control_hz": "fast"}, "positive"),
        ({"control_hz": 30.0}, "no whole number of physics steps"),
        ({"control_hz": 1000.0}, "no whole number of physics steps"),
    ],
)
def test_a_wrong_config_is_a_users_mistake(
    config: MujocoRobotConfig, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        MujocoRobot(replace(config, **change))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('range="-2 2"', "", "'pan' of the scene has no range"),
        ('<position name="a" joint="pan"/>', '<motor joint="pan"/>', "no position actuator"),
        (
            '<position name="a" joint="pan"/>',
            '<general joint="pan" gainprm="5" biastype="none" biasprm="0 -5"/>',
            "no position actuator",
        ),
        ("</mujoco>", "", "cannot load"),
        ('<body name="target" mocap="true"/>', "", "no mocap body 'target'"),
    ],
)
def test_a_scene_that_lacks_something_is_a_users_mistake(
    config: MujocoRobotConfig, tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = config.scene.read_text()
    assert old in text
    scene = tmp_path / "scene.xml"
    scene.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=message):
        MujocoRobot(replace(config, scene=scene)).place(START, GOAL)


def test_physics_that_blows_up_is_told(
    config: MujocoRobotConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where MuJoCo writes its log
    text = config.scene.read_text()
    scene = tmp_path / "scene.xml"
    scene.write_text(text.replace('kp="18" forcerange="-4 4"', 'kp="1e12"'))
    robot = MujocoRobot(replace(config, scene=scene))
    robot.connect()
    with pytest.raises(RuntimeError, match="diverged"):
        drive(robot, 50)


def test_it_can_be_made_from_a_configs_plain_values(config: MujocoRobotConfig) -> None:
    values: dict[str, Any] = {"scene": str(config.scene), "joints": ["pan", "lift"]}
    robot = MujocoRobot.from_mapping({**values, "control_hz": 40, "real_time": True})
    assert (robot.joints, robot.control_hz, robot.real_time) == (("pan", "lift"), 40, True)
    with pytest.raises(UserError, match="lacks joints"):
        MujocoRobot.from_mapping({"scene": "x.xml"})
    with pytest.raises(UserError, match="unknown"):
        MujocoRobot.from_mapping({**values, "speed": 3})


def test_it_renders_what_it_is_in(robot: MujocoRobot) -> None:
    if available() is None:
        pytest.skip("no GL library renders here")
    picture = robot.render("scene", width=64, height=48)
    assert (picture.shape, picture.dtype) == ((48, 64, 3), np.uint8)
    robot.place(np.array([0.0, 0.3, 0.02, 1, 0, 0, 0, -1.0, 0.5, 0.0]))
    assert (robot.render("scene", width=64, height=48) != picture).any()


def test_the_registry_names_it() -> None:
    assert (
        NAMES["robot"]["mujoco_so101"] == "real_robot.drivers.mujoco_robot:MujocoRobot.from_mapping"
    )


def test_the_guard_and_the_loop_need_no_simulator() -> None:
    code = "import sys, real_robot.loop; print('mujoco' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
