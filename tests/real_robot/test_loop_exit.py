from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from real_robot.guard import Guard, Status
from real_robot.limits import JointLimit, Limits
from real_robot.loop import run_episode
from real_robot.recorder import Recorder


def trace(recorder: Recorder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recorder.path.read_text().splitlines()]


def scripted_limits(max_age: float | None = None) -> Limits:
    return Limits({"a": JointLimit(-1.0, 1.0, 0.1)}, control_hz=10.0, max_age=max_age)


def test_ctrl_c_at_any_moment_leaves_a_whole_trace_and_a_robot_at_rest(
    scripted: Any, tmp_path: Path
) -> None:
    rng = random.Random(0)
    for trial in range(40):
        robot = scripted()
        guard = Guard(scripted_limits())
        recorder = Recorder(tmp_path / f"{trial}.jsonl", robot)
        timer = threading.Timer(rng.uniform(0.0, 0.01), os.kill, (os.getpid(), signal.SIGINT))

        def choose(
            observation: dict[str, Any],
            robot: Any = robot,
            timer: threading.Timer = timer,
        ) -> dict[str, float]:
            if not robot.bus:
                timer.start()  # not before the episode runs: it would end the tests instead
            return {"a.pos": 0.5 * math.sin(robot.time)}

        with pytest.raises(KeyboardInterrupt):
            run_episode(robot, guard, choose, steps=10**9, recorder=recorder)
        timer.join()
        assert guard.status is Status.STOPPED
        assert guard.stop_reason.startswith("interrupted by Ctrl-C")
        assert not robot.is_connected
        assert [line["sent"] for line in trace(recorder) if line["sent"]] == robot.bus


CHILD = """
import sys
from pathlib import Path
from real_robot.drivers.mujoco_robot import MujocoRobot, MujocoRobotConfig
from real_robot.guard import Guard
from real_robot.limits import JointLimit, Limits
from real_robot.loop import run_episode
from real_robot.recorder import Recorder

class Logged(MujocoRobot):
    def send_action(self, action):
        print("sent", flush=True)
        return super().send_action(action)

    def disconnect(self):
        super().disconnect()
        print("end state", flush=True)

config = MujocoRobotConfig(
    Path(sys.argv[1]), ("pan", "lift", "wrist"), ("cube",), control_hz=50.0, real_time=True
)
robot = Logged(config)
robot.connect()
limits = Limits({name: JointLimit(-1.0, 1.0, 0.1) for name in robot.joints}, 50.0, max_age=10.0)
recorder = Recorder(Path(sys.argv[2]), robot)
hold = {f"{name}.pos": 0.0 for name in robot.joints}
try:
    run_episode(robot, Guard(limits), lambda seen: hold, steps=100_000, recorder=recorder)
except KeyboardInterrupt:
    print("interrupted", len(recorder.episode()["sent"]), flush=True)
    raise SystemExit(130)
"""


def test_a_real_sigint_in_real_time_reaches_the_end_state(scene: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(scene), str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        for _ in range(10):
            assert child.stdout.readline() == "sent\n"
        child.send_signal(signal.SIGINT)
        rest = child.stdout.read().splitlines()
        assert child.wait(timeout=30) == 130
    finally:
        child.kill()
    more = rest.count("sent")
    # The outcome of the last action was observed only if the next step had begun.
    assert rest[more:] in (
        ["end state", f"interrupted {10 + more - 1}"],
        ["end state", f"interrupted {10 + more}"],
    )
    ticks = [json.loads(line) for line in path.read_text().splitlines()]
    assert sum(tick["sent"] is not None for tick in ticks) == 10 + more


def test_a_killed_process_leaves_every_finished_tick(scene: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(scene), str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        for _ in range(10):
            child.stdout.readline()
    finally:
        child.kill()
        child.wait()
    lines = path.read_text().split("\n")[:-1]
    # The tenth may have been killed between its action and its line.
    assert len(lines) >= 9
    assert [json.loads(line)["index"] for line in lines] == list(range(len(lines)))
