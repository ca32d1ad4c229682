"""A round's training: what it learns from, and what a kill left of it."""

import pytest

from embodied.environments import EnvConfig
from embodied.files import write_json
from embodied.runs import RunFolder
from embodied.stages import retrain as stage
from embodied.stages.labelled import DataConfig
from embodied.stages.train import TrainConfig


@pytest.fixture(name="asked")
def _asked(monkeypatch):
    """The trainings that were asked for, none of which is run."""
    found = []
    monkeypatch.setattr(stage.train, "train", lambda config, run: found.append((config, run)))
    return found


@pytest.fixture(name="run")
def _run(tmp_path):
    run = RunFolder(tmp_path / "a run" / "rounds" / "3")
    for name in ("reward", "policy", "evaluations"):
        (run.path / name).mkdir(parents=True)
    for name in ("request.json", "spent.json", "manifest.json", "metrics.jsonl"):
        write_json(run.path / name, {"run_version": 1, "command": "train"})
    return run


def test_online_training_begins_again_with_the_rounds_reward(asked, run):
    own = {"name": "text2reward"}
    config = TrainConfig(EnvConfig("push"), DataConfig(()), {"name": "ppo"}, reward=own, path="x")
    stage.retrain(run, config)
    ((given, place),) = asked
    assert place == run
    assert given.reward == {"name": "saved", "path": str(run.path)}
    assert given.path is None
    left = {item.name for item in run.path.iterdir()}
    assert left == {"request.json", "spent.json", "reward"}


def test_offline_training_goes_on_with_the_rounds_label(asked, run):
    stage.retrain(run, TrainConfig(EnvConfig("push"), DataConfig(("data",)), {"name": "iql"}))
    ((given, _),) = asked
    assert given.data == DataConfig(("data",), label="a-run-round3")
    left = {item.name for item in run.path.iterdir()}
    assert {"policy", "manifest.json", "metrics.jsonl"} <= left
    assert "evaluations" not in left


def test_a_finished_round_is_left_alone(asked, run):
    write_json(run.path / "result.json", {})
    stage.retrain(run, TrainConfig(EnvConfig("push"), DataConfig(()), {"name": "ppo"}))
    assert asked == []
    assert (run.path / "policy").exists()
