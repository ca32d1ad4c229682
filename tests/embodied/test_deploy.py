from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from embodied.cli import main
from embodied.config import build, load
from embodied.dataset import Dataset
from embodied.environments import EnvConfig, make_environment
from embodied.errors import UserError
from embodied.files import read_json, write_json
from embodied.labels import read_labels
from embodied.registry import resolve
from embodied.rollout import rollout
from embodied.runs import RunFolder
from embodied.stages.deploy import DeployConfig, deploy
from embodied.stages.label import LabelConfig, label
from embodied.stages.train import TrainConfig, train

STEPS = 12


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the trained run that a test may change."""
    shutil.copytree(trained.path, tmp_path / "run")
    return RunFolder.open(tmp_path / "run")


def config(*overrides: str) -> DeployConfig:
    return build(DeployConfig, load("deploy", [f"max_steps={STEPS}", *overrides]))


@pytest.fixture(scope="module")
def deployed(trained, tmp_path_factory):
    """The folder of one deployment, which tests only read."""
    copy = tmp_path_factory.mktemp("deployed") / "run"
    shutil.copytree(trained.path, copy)
    return deploy(RunFolder.open(copy), config())


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_deployment_tells_what_happened(deployed):
    result = read_json(deployed / "result.json")
    assert result["robot"] == "mujoco_so101"
    assert result["task"] == "push"
    assert result["steps"] == result["guard"]["sent"] == STEPS
    assert result["guard"]["held"] == 0
    assert result["stopped"] is None
    assert result["success"] is False
    assert not result["real_time"]
    assert set(result["latency_s"]) == {"observation_age", "inference", "lateness"}
    assert deployed.parent.parent.joinpath("report.html").is_file()


def test_the_trace_has_a_line_per_tick(deployed):
    trace = lines(deployed / "trace.jsonl")
    assert [line["index"] for line in trace] == list(range(STEPS))
    joints = {f"{name}.pos" for name in resolve("task", "push")().joints}
    for line in trace:
        assert set(line["sent"]) == joints
        assert line["verdict"] in ("passed", "clamped")


def test_the_recorded_dataset_is_one_like_any_other(deployed, push_dataset):
    dataset = Dataset(deployed / "dataset")
    assert dataset.num_episodes == 1
    assert len(dataset) == STEPS
    assert dataset.column_names == push_dataset.column_names
    assert dataset.info.fields == push_dataset.info.fields
    assert dataset.info.action == push_dataset.info.action
    assert dataset.info.origin["robot"] == "mujoco_so101"
    dataset.check_finite()
    episode = dataset.episode(0)
    assert not episode.terminated
    sent = [list(line["sent"].values()) for line in lines(deployed / "trace.jsonl")]
    targets = episode.state["joint_target"]
    np.testing.assert_allclose(targets[1:], sent, atol=1e-6)
    np.testing.assert_allclose(np.diff(targets, axis=0), episode.action, atol=1e-6)


def test_the_recorded_dataset_is_labelled_and_trained_on(
    deployed, tmp_path, push_reward_file, monkeypatch
):
    shutil.copytree(deployed / "dataset", tmp_path / "data")
    options = {"name": "file", "path": str(push_reward_file)}
    label(tmp_path / "data", LabelConfig(options, {"name": "recorded"}))
    assert len(read_labels(Dataset(tmp_path / "data"), "default")[0]) == STEPS
    monkeypatch.setenv("EMBODIED_RUNS", str(tmp_path / "runs"))
    values = load("train", [f"data={tmp_path / 'data'}", "policy=bc", "policy.hidden=[8]"])
    values |= {"seeds": [0], "steps": 2, "curve_every": 0, "evaluation_episodes": 2}
    values |= {"videos": False, "controls": False}
    made = train(build(TrainConfig, values))
    assert read_json(made.path / "result.json")["controls"]["behaviour"]["success"]["mean"] == 0.0


def simulate(policy, seed: int, monkeypatch):
    """Roll the policy out in the simulator from the start that ``deploy`` uses."""
    env = make_environment(EnvConfig("push", max_steps=STEPS), 1)
    start = env.task.start(np.random.default_rng(seed))
    monkeypatch.setattr(type(env.task), "start", lambda self, rng: start)
    ((_, episode),) = rollout(env, lambda o, s, e: policy.predict(o, deterministic=True)[0], 1, 0)
    env.close()
    return episode


@pytest.mark.parametrize("seed", [3_000_000, 5])
def test_the_robot_follows_the_simulators_trajectory(run, seed, monkeypatch):
    """In lock step the emulated arm is the simulator behind another interface."""
    folder = deploy(run, config(f"seed={seed}"))
    assert read_json(folder / "result.json")["guard"]["clamped"] == 0
    recorded = Dataset(folder / "dataset").episode(0)
    policy = resolve("package", "load")(run.path / "policy" / "0")
    simulated = simulate(policy, seed, monkeypatch)
    moved = np.abs(simulated.state["joint_position"][-1] - simulated.state["joint_position"][0])
    assert moved.max() > 0.02
    for name in ("joint_position", "joint_target", "cube_position", "target_position"):
        np.testing.assert_allclose(
            recorded.state[name][:8], simulated.state[name][:8], atol=1e-3, err_msg=name
        )


def test_deployments_are_numbered_and_repeat(run):
    first, second = deploy(run, config()), deploy(run, config())
    assert [first.name, second.name] == ["0", "1"]
    one, other = (Dataset(item / "dataset").episode(0) for item in (first, second))
    np.testing.assert_array_equal(one.observation, other.observation)


def test_another_policy_seed_is_another_policy(run):
    first = deploy(run, config())
    second = deploy(run, config("policy_seed=1"))
    assert read_json(second / "result.json")["policy_seed"] == 1
    one, other = (Dataset(item / "dataset").episode(0) for item in (first, second))
    np.testing.assert_array_equal(one.observation[0], other.observation[0])
    assert not np.array_equal(one.action, other.action)


@pytest.mark.parametrize("from_step", [0, 3])
def test_a_policy_that_gives_nan_is_held_and_the_result_says_so(run, monkeypatch, from_step):
    package = resolve("package", "load")(run.path / "policy" / "0")
    predict, calls = type(package).predict, []

    def poisoned(self, *arguments, **options):
        action, state = predict(self, *arguments, **options)
        calls.append(action)
        return (action * np.nan if len(calls) > from_step else action), state

    monkeypatch.setattr(type(package), "predict", poisoned)
    folder = deploy(run, config())
    result = read_json(folder / "result.json")
    trace = lines(folder / "trace.jsonl")
    assert result["guard"]["held"] > 0
    assert result["stopped"]
    assert not result["success"]
    assert {line["verdict"] for line in trace[from_step:]} <= {"held", "blocked"}
    held = [line for line in trace if line["verdict"] == "held"]
    assert len(held) == result["guard"]["held"]
    assert all(line["reasons"] for line in held)
    for line in trace:
        assert line["sent"] is None or all(np.isfinite(list(line["sent"].values())))


def test_a_policy_that_raises_ends_the_episode_and_the_result_says_so(run, monkeypatch):
    package = resolve("package", "load")(run.path / "policy" / "0")

    def fail(self, *arguments, **options):
        raise ValueError("boom")

    monkeypatch.setattr(type(package), "predict", fail)
    folder = deploy(run, config())
    result = read_json(folder / "result.json")
    assert "boom" in result["stopped"]
    assert result["steps"] == 0
    assert not (folder / "dataset").exists()


def refuse(run, told, *overrides):
    with pytest.raises(UserError, match=told):
        deploy(run, config(*overrides))
    assert not (run.path / "deployments").exists()


def test_another_control_rate_is_refused(run):
    refuse(run, "the policy was made for 10.0 Hz, the robot runs at 20", "+robot.control_hz=20")


def test_other_joints_are_refused(run):
    refuse(run, "the policy commands the joints", "+robot.joints=[shoulder_pan,elbow_flex]")


def test_a_robot_that_does_not_track_the_cube_is_refused(run):
    refuse(run, r"does not measure cube\.position", "+robot.objects=[]")


def test_another_action_unit_is_refused(run):
    path = run.path / "policy" / "0" / "policy.json"
    description = read_json(path)
    description["action"]["unit"] = "deg"
    write_json(path, description)
    refuse(run, "the policy acts in deg, not rad")


def test_another_policy_seed_than_there_is_is_refused(run):
    refuse(run, "has no policy of seed 7; it has 0, 1", "policy_seed=7")
    shutil.rmtree(run.path / "policy")
    refuse(run, "has no policy yet")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("max_steps=0", "max_steps"),
        ("max_steps=-3", "max_steps"),
        ("robot.limits=none", "unknown limits 'none'; known: so101"),
        ("robot.max_speed=0", "speed"),
        ("robot.max_speed=fast", "max_speed"),
        ("robot.max_speed=nan", "max_speed"),
        ("+robot.control_hz=fast", "control_hz|robot"),
        ("+robot.colour=red", "colour"),
        ("robot.real_time=maybe", "real_time"),
        ("~robot.limits", "limits"),
    ],
)
def test_a_wrong_setting_is_refused_before_the_arm_moves(run, override, told):
    refuse(run, told, override)


def test_the_command_tells_that_the_guard_stopped(trained, tmp_path, monkeypatch, capsys):
    shutil.copytree(trained.path, tmp_path / "run")

    def fail(self, *arguments, **options):
        raise ZeroDivisionError("the policy broke")

    monkeypatch.setattr("policies.package.PackagedPolicy.predict", fail)
    assert main(["deploy", str(tmp_path / "run"), "max_steps=3"]) == 2
    said = capsys.readouterr()
    assert "no success in 0 steps" in said.out
    assert "dataset" not in said.out.splitlines()[-1].split(": ")[1]
    assert "the guard stopped the episode" in said.err
    assert "the policy broke" in said.err
