"""The registry's names and the YAML files: each fits the object that it feeds."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
import yaml

from embodied import registry
from embodied.config import load
from embodied.config_folder import config_folder
from embodied.environments import EnvConfig
from embodied.stages import (
    collect,
    compare,
    data,
    demo,
    deploy,
    evaluate,
    improve,
    label,
    prefer,
    reward,
    train,
)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, table in registry.NAMES.items() for name in table]
)
def test_every_registry_name_is_an_object(kind, name):
    assert callable(registry.resolve(kind, name))


def test_the_registry_points_at_our_own_folders_alone():
    targets = [target for table in registry.NAMES.values() for target in table.values()]
    assert {target.partition(".")[0].partition(":")[0] for target in targets} <= set(
        registry.FOLDERS
    )


# Which registry kind the files of a config group name.
KINDS = {
    "env": "environment",
    **{kind: kind for kind in ("behaviour", "reward", "provider", "policy", "robot")},
}
GROUP_FILES = sorted(
    path for path in config_folder().glob("*/*.yaml") if path.parent.name != "experiment"
)


def choices(group: str) -> set[str]:
    """Return the names of a group: those of its kind, and for environments those of the tasks."""
    names = set(registry.NAMES[KINDS[group]])
    return (names - {"native"}) | set(registry.NAMES["task"]) if group == "env" else names


def keyword_names(function: object) -> set[str]:
    return set(inspect.signature(function).parameters)  # type: ignore[arg-type]


def field_names(cls: type) -> set[str]:
    return {item.name for item in dataclasses.fields(cls)}


def accepted(group: str, name: str) -> set[str]:
    """Return the keys that the object behind a group's name takes."""
    from real_robot.drivers.mujoco_robot import MujocoRobotConfig
    from rewards.providers.http_chat import HttpConfig
    from rewards.providers.openai_http import OpenAIConfig
    from rewards.providers.transformers_chat import TransformersConfig

    if group == "data":
        return field_names(train.DataConfig)
    if group == "env":
        return field_names(EnvConfig) - {"name"}
    if group == "robot":
        return field_names(MujocoRobotConfig) | {"limits", "max_speed"}
    if group == "policy":
        return field_names(registry.resolve("policy", name).Config)
    if group == "provider":
        configs = {"openai": OpenAIConfig, "anthropic": HttpConfig}
        configs |= {"transformers": TransformersConfig}
        return field_names(configs[name]) if name in configs else set()
    given = {"task", "num_envs", "context"} | ({"seed"} if group == "behaviour" else set())
    return keyword_names(registry.resolve(KINDS[group], name)) - given


@pytest.mark.parametrize("path", GROUP_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_group_file_names_something_real_and_sets_only_what_it_takes(path):
    group, values = path.parent.name, yaml.safe_load(path.read_text(encoding="utf-8"))
    if group != "data":
        # A preset, as env/halfcheetah is, has a name of its own and sets options of another.
        assert values["name"] == path.stem or group in ("env", "policy")
        assert values["name"] in choices(group)
    assert set(values) - {"name", "defaults"} <= accepted(group, values.get("name", path.stem))


def test_every_name_that_a_user_can_choose_has_a_group_file():
    files = {(path.parent.name, path.stem) for path in GROUP_FILES}
    for group in KINDS:
        assert {(group, name) for name in choices(group)} <= files


COMMANDS = {
    "collect": (collect.CollectConfig, ["output=x"]),
    "label": (label.LabelConfig, []),
    "reward": (reward.RewardConfig, []),
    "train": (train.TrainConfig, ["data=x"]),
    "evaluate": (evaluate.EvaluateConfig, []),
    "compare": (compare.CompareConfig, []),
    "deploy": (deploy.DeployConfig, []),
    "data": (data.DataConfig, []),
    "improve": (improve.ImproveConfig, []),
    "demo": (demo.DemoConfig, []),
    "prefer": (prefer.PreferConfig, []),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_file_holds_every_key_of_its_dataclass_and_no_other(command):
    cls, needed = COMMANDS[command]
    assert set(load(command, needed)) == field_names(cls)


def test_defaults_of_a_command_file_are_those_of_its_dataclass():
    for command, (cls, needed) in COMMANDS.items():
        values = load(command, needed)
        for item in dataclasses.fields(cls):
            if item.default is not dataclasses.MISSING:
                stored = values[item.name]
                stored = tuple(stored) if isinstance(stored, list) else stored
                assert stored == item.default, f"{command}.{item.name}"
