"""ManiSkill's tasks without ManiSkill: documentation, prompts, expert rewards, clear refusals."""

import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sim
from embodied import registry
from embodied.environments import EnvConfig, make_environment, make_task
from embodied.errors import UserError
from embodied.types import Field, RobotTask, Task, Transitions
from rewards import file
from rewards.checks import failures
from rewards.prompt import build_messages
from sim.maniskill import simulator
from sim.maniskill.tabletop import pick_cube

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f"maniskill_{name}" for name in ("pick_cube", "stack_cube", "push_cube", "pull_cube")]
NAMES += [f"maniskill_{name}" for name in ("lift_peg", "insert_peg", "turn_faucet", "open_drawer")]


@pytest.fixture(params=NAMES, name="task")
def _task(request):
    return make_task(request.param)


def transitions(task, rows=200, seed=0):
    """Return transitions whose fields are near what they could be."""
    rng = np.random.default_rng(seed)

    def state():
        found = {}
        for name, field in task.fields.items():
            values = rng.normal(0.0, 0.2, (rows, *field.shape))
            if name.endswith(("_quaternion", "_axis")):
                values /= np.linalg.norm(values, axis=-1, keepdims=True)
            if name == "grasped":
                values = (values > 0).astype(float)
            if name.startswith("peg_half") or name.endswith("_width"):
                values = np.abs(values) + 0.01
            found[name] = values.astype(np.float32)
        return found

    low, high = np.array(task.action.low), np.array(task.action.high)
    action = rng.uniform(low, high, (rows, len(low))).astype(np.float32)
    nothing = np.zeros((rows, 1), np.float32)
    ended = np.zeros(rows, bool)
    return Transitions(nothing, action, nothing, ended, ended, state(), state())


def tensors(batch):
    def of(columns):
        return {name: torch.from_numpy(values) for name, values in columns.items()}

    return replace(
        batch,
        **{
            name: torch.from_numpy(getattr(batch, name))
            for name in ("observation", "action", "next_observation", "terminated", "truncated")
        },
        state=of(batch.state),
        next_state=of(batch.next_state),
    )


def test_all_eight_are_registered_under_their_names(task):
    assert isinstance(task, Task)
    assert not isinstance(task, RobotTask)
    assert registry.NAMES["task"].keys() >= set(NAMES)
    assert task.name in NAMES
    assert len(task.instruction.split()) >= 3
    assert task.control_hz == 20.0
    assert task.max_steps >= 50


def test_fields_are_documented_and_do_not_tell_the_answer(task):
    for name, field in {**task.fields, "action": task.action}.items():
        assert isinstance(field, Field)
        assert len(field.meaning) > 15, name
        assert field.meaning.endswith("."), name
        assert field.unit, name
        assert field.frame == "world" or field.unit not in ("m", "m/s") or not field.shape, name
    assert not any("success" in name or "placed" in name for name in task.fields)
    assert {"joint_position", "joint_velocity", "gripper_opening", "tool_position"} <= set(
        task.fields
    )


def test_the_action_has_a_range_in_every_direction(task):
    low, high = np.array(task.action.low), np.array(task.action.high)
    assert low.shape == high.shape == task.action.shape
    assert (low < high).all()


def test_the_prompt_shows_every_field_and_names_no_success_test(task):
    text = build_messages(task.instruction, task)[1]["content"]
    for name in task.fields:
        assert f"    {name}: Array[N" in text
    assert "evaluate" not in text
    assert "uccess" not in text


def test_the_expert_reward_passes_its_checks_on_arrays_and_gives_the_same_on_tensors(task):
    reward = file.load(file.require_expert(task), task)
    batch = transitions(task)
    assert failures(reward, batch) == []
    expected, found = reward.score(batch), reward.score(tensors(batch))
    assert isinstance(found.total, torch.Tensor)
    for name, values in {"total": expected.total, **expected.terms}.items():
        other = found.total if name == "total" else found.terms[name]
        np.testing.assert_allclose(other.numpy(), values, rtol=1e-5, atol=1e-5)


def test_nothing_of_it_imports_maniskill_or_its_simulator():
    code = f"""
import sys
import sim.maniskill.environment, sim.maniskill.behaviours
from embodied.environments import make_task
for name in {NAMES}:
    make_task(name).fields
print([name for name in ("mani_skill", "sapien") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_a_missing_package_is_told_with_the_command_that_installs_it(task, monkeypatch):
    monkeypatch.setitem(sys.modules, "mani_skill", None)
    with pytest.raises(UserError, match=r"pip install 'embodied-stack\[maniskill\]'") as caught:
        sim.make(task.name, 1, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.fixture(name="installed")
def _installed(monkeypatch):
    """Stand in for an installed ManiSkill without assets; what it would ask fails the test."""
    spec = types.SimpleNamespace(asset_download_ids=["models"])
    assets = types.SimpleNamespace(
        DATA_GROUPS={"models": ["models/1", "models/2"]},
        expand_data_group_into_individual_data_source_ids=lambda group: ["models/1", "models/2"],
        is_data_source_downloaded=lambda name: name == "models/1",
    )
    modules = {
        "mani_skill": types.SimpleNamespace(
            logger=types.SimpleNamespace(setLevel=lambda level: None)
        ),
        "mani_skill.envs": types.SimpleNamespace(),
        "mani_skill.utils": types.SimpleNamespace(assets=assets),
        "mani_skill.utils.registration": types.SimpleNamespace(
            REGISTERED_ENVS={make_task(name).id: spec for name in NAMES}
        ),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("builtins.input", lambda *text: pytest.fail("asked on standard input"))
    return spec


def test_missing_assets_are_told_with_the_command_that_downloads_them(installed):
    with pytest.raises(UserError, match="1 of 2 models") as caught:
        sim.make("maniskill_turn_faucet", 1, device="cpu")
    assert "python -m mani_skill.utils.download_asset models -y" in str(caught.value)


@pytest.mark.parametrize(
    "message", ["failed to find a rendering device", "vk::createInstanceUnique: Incompatible"]
)
def test_a_missing_vulkan_device_is_told_with_the_package_that_helps(
    installed, monkeypatch, message
):
    installed.asset_download_ids = None

    def refuse(*args, **kwargs):
        raise RuntimeError(message)

    monkeypatch.setattr("gymnasium.make", refuse)
    with pytest.raises(UserError, match="mesa-vulkan-drivers"):
        simulator.simulate(pick_cube(), 1, "cpu")


def test_other_failures_of_the_simulator_travel(installed, monkeypatch):
    installed.asset_download_ids = None

    def fail(*args, **kwargs):
        raise RuntimeError("the scene is broken")

    monkeypatch.setattr("gymnasium.make", fail)
    with pytest.raises(RuntimeError, match="the scene is broken"):
        simulator.simulate(pick_cube(), 1, "cpu")


def test_a_gpu_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert simulator.choose_device(None) == "cpu"
    with pytest.raises(UserError, match=r"say env\.device=cpu"):
        simulator.choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert simulator.choose_device(None) == "cuda"
    with pytest.raises(UserError, match="cpu or cuda"):
        simulator.choose_device("tpu")


def test_options_of_other_simulators_are_refused():
    with pytest.raises(UserError, match=r"leave env\.threads out"):
        make_environment(EnvConfig(NAMES[0], num_envs=1, threads=2))
    with pytest.raises(UserError, match=r"leave env\.device out"):
        make_environment(EnvConfig("push", num_envs=1, device="cpu"))
    with pytest.raises(UserError, match="num_envs is 0"):
        sim.make(NAMES[0], 0)
