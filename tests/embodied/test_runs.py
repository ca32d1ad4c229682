from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from embodied.environments import (
    EnvConfig,
    describe_action,
    environment_from_json,
    make_environment,
    require_task,
)
from embodied.errors import UserError
from embodied.results import table
from embodied.runs import MetricsLog, RunFolder, numbered, read_metrics


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBODIED_RUNS", str(tmp_path / "runs"))
    made = RunFolder.create("a name/with ../odd things")
    made.describe({"command": "train", "seeds": (0, 1)}, {"command": "train"})
    return made


def test_a_run_folder_describes_itself(run, tmp_path):
    assert run.path.parent == tmp_path / "runs"
    assert run.path.name.endswith("-a-name-with-odd-things")
    assert yaml.safe_load((run.path / "config.yaml").read_text()) == {
        "command": "train",
        "seeds": [0, 1],
    }
    manifest = RunFolder.open(run.path).manifest
    assert manifest["command"] == "train"
    assert set(manifest["versions"]) >= {"torch", "numpy", "mujoco"}
    assert manifest["cores"] >= 1


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBODIED_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr("embodied.runs.time.strftime", lambda *arguments: "20260101-000000")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: RunFolder.create("x").path.name, range(8)))
    assert len(set(made)) == 8


def test_a_place_without_write_permission_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EMBODIED_RUNS", str(tmp_path / "file" / "runs"))
    with pytest.raises(UserError, match=r"cannot make a run folder under .*EMBODIED_RUNS"):
        RunFolder.create("x")


def test_numbered_folders_are_in_the_order_of_their_numbers(run):
    assert run.next_folder("evaluations").name == "0"
    for name in ("0", "2", "10", "x", ".3.tmp", "-1"):
        (run.path / "evaluations" / name).mkdir(parents=True)
    found = [item.name for item in numbered(run.path / "evaluations")]
    assert found == ["0", "2", "10"]
    assert run.next_folder("evaluations").name == "11"
    assert numbered(run.path / "absent") == []


def test_metrics_are_read_back_without_a_line_that_was_cut(run):
    log = MetricsLog(run)
    for step in (1, 2, 3):
        log.write({"step": step, "policy/loss": [0.5, 0.25]})
    path = run.path / "metrics.jsonl"
    with path.open("a") as stream:
        stream.write('{"step": 4, "pol')
    assert [line["step"] for line in read_metrics(run)] == [1, 2, 3]
    # Going on from update 2 forgets what came after it.
    MetricsLog(run, keep_until_step=2).write({"step": 3, "policy/loss": [0.1, 0.1]})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[-1]["policy/loss"] == [0.1, 0.1]


@pytest.mark.parametrize("content", ["[1]\n", "3\n", "\n", "\x00\n", "null\n"])
def test_metrics_that_are_no_objects_are_left_out(run, content):
    (run.path / "metrics.jsonl").write_text('{"step": 1}\n' + content)
    assert read_metrics(run) == [{"step": 1}]
    MetricsLog(run, keep_until_step=5).write({"step": 6})
    assert [line["step"] for line in read_metrics(run)] == [1, 6]


def test_the_table_shows_every_row_that_there_is():
    row = {
        "success": {"mean": 0.5, "ci95": [0.25, 0.75], "per_seed": [0.25, 0.75]},
        "return": {"mean": 12.5, "iqm": 12.0, "ci95": [1.0, 2.0], "per_seed": [1.0, 2.0]},
    }
    only_return = {"success": None, "return": row["return"]}
    controls = {"behaviour": row, "bc": None, "constant_reward": only_return}
    shown = table({"policy": "iql", **row, "controls": controls}).splitlines()
    assert [line.split()[0] for line in shown[1:]] == ["iql", "behaviour", "constant_reward"]
    assert "0.50   0.25 -  0.75" in shown[1]
    assert "12.50" in shown[1]
    assert "0.25 0.75" in shown[1]
    assert "1.00 2.00" in shown[3]


# ---- environments --------------------------------------------------------------------------------


def test_max_steps_ends_episodes_of_every_kind_of_environment():
    import numpy as np

    for config in (
        EnvConfig("push", max_steps=3),
        EnvConfig("gymnasium", max_steps=3, id="Pendulum-v1"),
    ):
        env = make_environment(config, 2)
        env.reset(seed=0)
        action = np.zeros(env.action_space.shape, np.float32)
        ends = [env.step(action)[3].tolist() for _ in range(3)]
        env.close()
        assert ends == [[False, False], [False, False], [True, True]], config.title


def test_an_action_is_described_by_its_space():
    env = make_environment(EnvConfig("gymnasium", id="Pendulum-v1"), 2)
    field = describe_action(env, None)
    env.close()
    assert (field.shape, field.low, field.high) == ((1,), (-2.0,), (2.0,))
    env = make_environment(EnvConfig("gymnasium", id="CartPole-v1"), 2)
    with pytest.raises(UserError, match="not continuous"):
        describe_action(env, None)
    env.close()


def test_a_task_is_required_where_fields_are_needed():
    assert require_task("push").name == "push"
    with pytest.raises(UserError, match="Pendulum-v1 documents no state fields"):
        require_task("Pendulum-v1")


@pytest.mark.parametrize("value", [None, 3, [], {"num_envs": 1}, {"name": "push", "x": 1}])
def test_a_malformed_environment_is_told(value):
    with pytest.raises(UserError, match="environment"):
        environment_from_json(value)


def test_an_environment_comes_back_from_json():
    config = EnvConfig("gymnasium", 3, None, 7, "Pendulum-v1")
    assert environment_from_json(json.loads(json.dumps(vars(config)))) == config
    assert config.title == "Pendulum-v1"
