"""``embodied deploy``: run a policy package on a robot, guarded, and record the episode as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embodied.config import build
from embodied.dataset import Episode
from embodied.dataset_json import DatasetInfo
from embodied.dataset_writer import write_dataset
from embodied.environments import environment_from_json, require_robot_task
from embodied.errors import UserError, at_least
from embodied.files import read_json, write_json
from embodied.registry import resolve
from embodied.runs import RunFolder, git_commit
from embodied.stages.evaluate import refresh_report
from embodied.types import Array, FloatArray, RobotTask, Start

CUBE_NOTE = (
    "object poses came from the simulation; on a real arm they need a tracker, or a policy that "
    "acts from pixels; stillness is judged once per control step"
)


@dataclass(frozen=True)
class DeployConfig:
    """What ``deploy`` is asked for."""

    robot: dict[str, Any]  # short name and options of the robot; limits and max_speed of its guard
    policy_seed: int = 0  # which of the run's training seeds
    seed: int = 3_000_000  # of the episode's start
    max_steps: int | None = None  # control steps; the task's own when null


class PolicyOnRobot:
    """Turns a robot's observations into joint targets through the task and the policy.

    ``joint_target`` is the target that the robot really took, so a command that the guard changed
    is seen by the policy in the next step, as it would be in the simulator.
    """

    def __init__(self, task: RobotTask, policy: Any, goal: FloatArray) -> None:
        self._task, self._policy, self._goal = task, policy, goal
        self._joint_target: Array | None = None

    def choose(self, observation: Mapping[str, Any]) -> dict[str, float]:
        """Return ``<joint>.pos`` targets in rad."""
        joints = self._task.joints
        position = np.array([observation[f"{name}.pos"] for name in joints], np.float64)
        if self._joint_target is None:
            self._joint_target = position
        seen = observe(self._task, observation, self._joint_target, self._goal)
        action, _ = self._policy.predict(seen, deterministic=True)
        target = self._task.next_target(self._joint_target[None], action)[0]
        return {f"{name}.pos": float(value) for name, value in zip(joints, target, strict=True)}

    def took(self, tick: Any) -> None:
        """Remember the joint targets that the robot really took."""
        if tick.sent is not None:
            self._joint_target = np.array([tick.sent[f"{j}.pos"] for j in self._task.joints])


def observe(
    task: RobotTask, observation: Mapping[str, Any], joint_target: Array, goal: FloatArray
) -> Array:
    """Return the policy's observation [1, O] of what a robot measured."""
    measured = {
        "joint_position": np.array([observation[f"{name}.pos"] for name in task.joints]),
        "joint_velocity": np.array([observation[f"{name}.vel"] for name in task.joints]),
        "joint_target": joint_target,
        "goal": goal,
    }
    for name in task.objects:
        for kind in ("position", "velocity"):
            measured[f"{name}_{kind}"] = np.asarray(observation[f"{name}.{kind}"])
    batch = {key: np.asarray(value, np.float64)[None] for key, value in measured.items()}
    return task.observe(task.state(batch))


def deploy(run: RunFolder, config: DeployConfig) -> Path:
    """Run one episode on the robot; return ``deployments/<n>``.

    Raises:
        UserError: No such policy, or the policy does not fit the robot.
    """
    at_least(1, {"max_steps": config.max_steps})
    at_least(0, {"seed": config.seed})
    package = package_folder(run, config.policy_seed)
    policy = resolve("package", "load")(package)
    env = environment_from_json(policy.description["environment"])
    task = require_robot_task(env.title)
    robot, limits = make_robot(config.robot, task)
    check_fit(policy.description, task, robot)
    start = task.start(np.random.default_rng(config.seed))
    if hasattr(robot, "place"):
        robot.place(start.qpos, start.goal)
    folder = run.next_folder("deployments")
    folder.mkdir(parents=True)
    acting = PolicyOnRobot(task, policy, start.goal)
    steps = config.max_steps or task.max_steps
    outcome, arrays = resolve("session", "guarded")(
        robot, limits, acting.choose, steps=steps, trace=folder / "trace.jsonl", on_step=acting.took
    )
    episode = to_episode(task, arrays, start)
    if episode is not None:
        info = DatasetInfo(
            environment=env.title,
            action=task.action,
            fields=dict(task.fields),
            control_hz=robot.control_hz,
            origin={"robot": robot.name, "policy": str(package), "git_commit": git_commit()},
        )
        with write_dataset(folder / "dataset", info) as writer:
            writer.add(episode)
    result = {"task": env.title, **describe(config, robot, outcome, episode)}
    write_json(folder / "result.json", result)
    refresh_report(run)
    return folder


def package_folder(run: RunFolder, seed: int) -> Path:
    """Return the folder of the policy package of a training seed.

    Raises:
        UserError: There is none.
    """
    package = run.path / "policy" / str(seed)
    if not package.is_dir():
        found = sorted(item.name for item in (run.path / "policy").glob("*"))
        raise UserError(
            f"{run.path} has no policy of seed {seed}; it has {', '.join(found)}"
            if found
            else f"{run.path} has no policy yet; train it first"
        )
    return package


def describe(
    config: DeployConfig, robot: Any, outcome: Any, episode: Episode | None
) -> dict[str, Any]:
    """Return what ``result.json`` tells of an episode; None for one that recorded nothing."""
    return {
        "schema_version": 1,
        "robot": robot.name,
        "policy_seed": config.policy_seed,
        "control_hz": robot.control_hz,
        "real_time": bool(config.robot.get("real_time", True)),
        "success": bool(episode.columns["success"][-1]) if episode is not None else False,
        "steps": 0 if episode is None else len(episode.action),
        "guard": {"sent": outcome.sent, "clamped": outcome.clamped, "held": outcome.held},
        "stopped": outcome.stopped,
        "missed_deadlines": outcome.missed_deadlines,
        "latency_s": {key: dict(value) for key, value in outcome.latency.items()},
        "note": CUBE_NOTE,
    }


def make_robot(config: Mapping[str, Any], task: RobotTask) -> tuple[Any, Any]:
    """Return the robot and the limits of its guard; a simulated plant is the task's scene."""
    for key in ("name", "limits", "max_speed"):
        if key not in config:
            raise UserError(f"robot.{key} is missing; give it a value")
    speed = config["max_speed"]
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not 0 < speed < math.inf:
        raise UserError(f"robot.max_speed is {speed!r}; it must be a positive number (rad/s)")
    options = {k: v for k, v in config.items() if k not in ("name", "limits", "max_speed")}
    plant = {
        "scene": str(task.scene),
        "joints": task.joints,
        "objects": task.objects,
        "control_hz": task.control_hz,
    }
    maker, limits = resolve("robot", config["name"]), resolve("limits", config["limits"])
    try:
        robot = maker({**plant, **options, "name": config["name"]})
    except TypeError as error:
        raise UserError(f"robot {config['name']}: {error}; check robot.* in the config") from None
    return robot, limits(robot.control_hz, speed)


def check_fit(description: Mapping[str, Any], task: RobotTask, robot: Any) -> None:
    """Refuse to move a robot that the policy was not made for."""
    if description["control_hz"] != robot.control_hz:
        raise UserError(
            f"the policy was made for {description['control_hz']} Hz, the robot runs at "
            f"{robot.control_hz} Hz; use a robot config with that control rate"
        )
    if tuple(robot.joints) != tuple(task.joints):
        raise UserError(
            f"the policy commands the joints {', '.join(task.joints)}; the robot has "
            f"{', '.join(robot.joints)}"
        )
    lacking = [
        f"{name}.{kind}"
        for name in task.objects
        for kind in ("position", "velocity")
        if f"{name}.{kind}" not in robot.observation_features
    ]
    if lacking:
        raise UserError(f"the robot does not measure {lacking[0]}, which the policy needs")
    zeros = {key: np.zeros(field.shape) for key, field in robot.observation_features.items()}
    seen = observe(task, zeros, np.zeros(len(task.joints)), np.zeros(3))
    for kind, size in (("observation", seen.shape[1]), ("action", task.action.shape[0])):
        if description[f"{kind}_size"] != size:
            raise UserError(
                f"the policy has {kind}s of size {description[f'{kind}_size']}, the task {size}; "
                "deploy a policy that was trained for this task"
            )
    if description["action"]["unit"] != task.action.unit:
        raise UserError(
            f"the policy acts in {description['action']['unit']}, not {task.action.unit}"
        )


def to_episode(task: RobotTask, arrays: Mapping[str, FloatArray], start: Start) -> Episode | None:
    """Turn a recording into an episode like the simulator's, or None when nothing was recorded.

    The action is the change of the joint target that was really sent. The robot measures once per
    control step, so stillness is judged at these instants (the simulator takes the largest speed
    between them).
    """
    steps = len(arrays["sent"])
    if steps == 0:
        return None
    targets = np.concatenate([arrays["joint_position"][:1], arrays["sent"]])
    measured: dict[str, Any] = {
        key: value for key, value in arrays.items() if key not in ("time", "commanded", "sent")
    }
    measured |= {"joint_target": targets, "goal": np.tile(start.goal, (steps + 1, 1))}
    state = task.state(measured)
    still = np.zeros(steps + 1, np.int64)
    slow = task.speed(measured) < task.still_speed
    for index in range(1, steps + 1):
        still[index] = still[index - 1] + 1 if slow[index] else 0
    return Episode(
        observation=task.observe(state),
        action=np.diff(targets, axis=0).astype(np.float32),
        terminated=False,
        state=state,
        columns={"success": task.success(state, still)[1:]},
    )


def summary(result: Mapping[str, Any]) -> str:
    """Return how the episode went in one line."""
    outcome, guard = "success" if result["success"] else "no success", result["guard"]
    return (
        f"{outcome} in {result['steps']} steps on {result['robot']}; guard: {guard['sent']} sent, "
        f"{guard['clamped']} of them changed, {guard['held']} held; "
        f"{result['missed_deadlines']} deadlines missed"
    )


def run(path: str, values: dict[str, Any]) -> Path:
    """Entry of the command line.

    Raises:
        UserError: The episode was stopped; what it recorded is there.
    """
    folder = deploy(RunFolder.open(path), build(DeployConfig, values))
    result = read_json(folder / "result.json")
    print(summary(result))
    print(f"{folder}: {', '.join(sorted(item.name for item in folder.iterdir()))}")
    if result["stopped"]:
        raise UserError(f"the guard stopped the episode: {result['stopped']}; see {folder}")
    return folder
