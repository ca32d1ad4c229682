"""Damaged runs and full disks: one line, exit code 2, old files as they were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from embodied.cli import main
from embodied.files import read_json


def edit(path: Path, change) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_a_run_of_another_version(refused, run):
    edit(run / "manifest.json", lambda value: value.update(run_version=99))
    for arguments in (("evaluate", "run"), ("deploy", "run"), ("train", "resume=run")):
        assert "made by run version 99" in refused(*arguments)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_a_damaged_manifest(refused, run, content):
    (run / "manifest.json").write_text(content)
    assert "manifest.json" in refused("evaluate", "run")


CONFIGS = {
    "missing": None,
    "not YAML": "steps: [",
    "binary": "\x00\x01",
    "a list": "- 1\n",
    "text": "hello\n",
    "empty": "",
    "an object": "!!python/object/apply:os.system ['true']\n",
    "another command": "command: reward\n",
}


@pytest.mark.parametrize("case", CONFIGS)
def test_resuming_with_a_damaged_config(refused, run, case):
    content, path = CONFIGS[case], run / "config.yaml"
    path.unlink() if content is None else path.write_text(content)
    refused("train", "resume=run")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("steps", "many", "config key steps needs int"),
        ("env", 3, "config key env needs keys"),
        ("env", {"name": 3}, "env.name needs str"),
        ("env", {"name": "dance"}, "dance"),
        ("policy", {"name": "sacc"}, "unknown policy 'sacc'"),
        ("policy", {}, "policy"),
        ("policy", {"name": "iql", "hidden": 3}, "policy.hidden needs a list"),
        ("data", {"paths": "data"}, "data.paths needs a list"),
        ("data", {"paths": ["absent"]}, "absent is not a dataset folder"),
        ("data", {"paths": []}, "no dataset named"),
        ("seeds", [], "seeds is []"),
        ("extra", 1, "unknown config key extra"),
    ],
)
def test_resuming_with_a_config_of_wrong_values(refused, run, key, value, told):
    path = run / "config.yaml"
    values = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**values, key: value}))
    assert told in refused("train", "resume=run")


def test_resuming_with_a_damaged_checkpoint(refused, run):
    for path in (run / "checkpoints").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    assert "is damaged" in refused("train", "resume=run")


def test_resuming_with_other_data(refused, run, place):
    values = yaml.safe_load((run / "config.yaml").read_text())
    edit(place / "data" / "dataset.json", lambda value: value["info"].update(control_hz=20.0))
    values["data"]["paths"] = [str(place / "data")]
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    assert "made for other data" in refused("train", "resume=run")


def test_resuming_without_a_checkpoint_begins_again(run):
    shutil.rmtree(run / "checkpoints")
    for name in ("policy", "controls"):
        shutil.rmtree(run / name)
    (run / "result.json").unlink()
    assert main(["train", f"resume={run}"]) == 0
    assert read_json(run / "result.json")["steps"] == 4


def test_a_damaged_policy_package(refused, run):
    weights = run / "policy" / "0" / "policy.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    assert "train again" in refused("evaluate", "run")
    assert "train again" in refused("deploy", "run")
    weights.write_bytes(content)
    edit(run / "policy" / "0" / "policy.json", lambda value: value.update(environment={"a": 1}))
    assert "environment" in refused("evaluate", "run")
    edit(run / "policy" / "0" / "policy.json", lambda value: value.update(environment=[1]))
    assert "environment" in refused("evaluate", "run")
    edit(
        run / "policy" / "0" / "policy.json",
        lambda value: value.update(environment={"name": "push", "num_envs": "many"}),
    )
    assert "num_envs" in refused("evaluate", "run")


def test_a_damaged_result(refused, run):
    (run / "result.json").write_text("{")
    assert "result.json is not valid JSON" in refused("evaluate", "run", "episodes=2")


def test_a_disk_that_fills_up(refused, small_disk, place, run, monkeypatch):
    told = "disk full"
    (small_disk / "kept").write_text("1")
    for arguments in (
        ("collect", "output=disk/new", "episodes=64"),
        ("data", "merge", "data", "output=disk/new"),
    ):
        assert told in refused(*arguments)
        assert [item.name for item in small_disk.iterdir()] == ["kept"]
    monkeypatch.setenv("EMBODIED_RUNS", str(small_disk / "runs"))
    train = ("train", "data=data", "steps=2", "seeds=[0]", "videos=false")
    assert told in refused(*train, "curve_every=0")
