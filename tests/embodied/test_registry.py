from __future__ import annotations

import importlib.machinery
from importlib.metadata import EntryPoint

import pytest

from embodied import registry
from embodied.errors import UserError


def test_a_name_is_the_object_behind_it():
    from rewards.constant import ConstantReward
    from sim.tasks.push import PushTask

    assert registry.resolve("task", "push") is PushTask
    made = registry.resolve("reward", "constant")(None, value=2.0)
    assert isinstance(made, ConstantReward)


def test_an_attribute_of_a_class_can_be_named():
    from real_robot.drivers.mujoco_robot import MujocoRobot

    assert registry.resolve("robot", "mujoco_so101") == MujocoRobot.from_mapping


@pytest.mark.parametrize("name", ["sim.tasks.push:PushTask", "os:system", "", "Push", "push "])
def test_only_a_name_of_the_table_is_resolved(name):
    with pytest.raises(UserError, match=r"unknown task .*; known: .*push, reach"):
        registry.resolve("task", name)


def test_others_add_names_by_entry_point_but_do_not_replace_ours(monkeypatch):
    theirs = [
        EntryPoint("fold", "fractions:Fraction", "embodied.task"),
        EntryPoint("push", "fractions:Fraction", "embodied.task"),
    ]
    monkeypatch.setattr(
        registry, "entry_points", lambda group: theirs if group == "embodied.task" else []
    )
    assert registry.names("task") == sorted({"fold", *registry.NAMES["task"]})
    assert registry.resolve("task", "fold").__name__ == "Fraction"
    assert registry.resolve("task", "push").__name__ == "PushTask"


def test_a_package_that_shadows_a_folder_of_ours_is_named(monkeypatch, tmp_path):
    registry.check_siblings()
    other = tmp_path / "policies" / "__init__.py"
    find = registry.importlib.util.find_spec

    def shadowed(name):
        if name == "policies":
            return importlib.machinery.ModuleSpec(name, None, origin=str(other))
        return find(name)

    monkeypatch.setattr(registry.importlib.util, "find_spec", shadowed)
    with pytest.raises(UserError, match=f"'policies' resolves to {other.parent}, not to"):
        registry.check_siblings()
