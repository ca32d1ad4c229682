"""The demo: the whole path through the real entry point, and what can be done with its run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from embodied.cli import main
from embodied.dataset import Dataset
from embodied.files import read_json
from embodied.labels import read_labels


@pytest.fixture(scope="module")
def demo(tmp_path_factory, console):
    """The folder of one demo, which tests only read."""
    place = tmp_path_factory.mktemp("demo")
    done = console(
        *("demo", "episodes=64", "steps=20", "evaluation_episodes=4", "seeds=[0,1]"), cwd=place
    )
    (run,) = (place / "runs").iterdir()
    assert f"report: {Path('runs') / run.name / 'report.html'}" in done.stdout
    return run


def test_the_demo_leaves_every_file(demo):
    expected = """config.yaml manifest.json metrics.jsonl result.json report.html
        reward/reward.py reward/provenance.json reward/diagnostics.json
        data/0/dataset.json data/0/labels/default.parquet data/1/dataset.json
        policy/0/policy.json policy/0/policy.safetensors policy/1/policy.json
        evaluations/0/result.json evaluations/0/report.html evaluations/0/videos.json
        deployments/0/result.json deployments/0/trace.jsonl deployments/0/dataset/dataset.json"""
    assert [name for name in expected.split() if not (demo / name).is_file()] == []
    assert list((demo / "checkpoints").glob("*.safetensors"))
    filmed = read_json(demo / "evaluations" / "0" / "videos.json")
    assert all((demo / "evaluations" / "0" / name).is_file() for name in filmed["videos"].values())
    assert filmed["videos"] or filmed["missing"]
    assert not list(demo.rglob(".*")), "no temporary name is left"


def test_the_demo_tells_where_everything_came_from(demo):
    result, manifest = read_json(demo / "result.json"), read_json(demo / "manifest.json")
    assert result["instruction"] == "push the cube onto the target"
    assert result["reward"]["kind"] == "text2reward"
    assert read_json(demo / "reward" / "provenance.json") == result["reward"]
    digests = [Dataset(demo / "data" / str(seed)).digest for seed in (0, 1)]
    assert [item["sha256"] for item in manifest["data"]] == digests
    for seed in (0, 1):
        assert read_json(demo / "policy" / str(seed) / "policy.json")["data"] == digests[seed]
        values, metadata = read_labels(Dataset(demo / "data" / str(seed)), "default")
        assert metadata["reward"] == result["reward"]
        assert np.ptp(values) > 0
    assert set(result["controls"]) == {"behaviour", "bc", "constant_reward", "true_reward"}
    assert all(result["controls"].values())
    steps = [json.loads(line)["step"] for line in (demo / "metrics.jsonl").read_text().splitlines()]
    assert steps[-1] == 20


def test_the_demos_run_is_evaluated_deployed_and_resumed(demo, tmp_path, monkeypatch):
    shutil.copytree(demo, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "run", "episodes=2", "videos=false"]) == 0
    assert read_json(tmp_path / "run" / "result.json")["episodes"] == 2
    assert main(["deploy", "run", "policy_seed=1", "max_steps=3"]) == 0
    assert read_json(tmp_path / "run" / "deployments" / "1" / "result.json")["steps"] == 3
    weights = (tmp_path / "run" / "policy" / "0" / "policy.safetensors").read_bytes()
    assert main(["train", "resume=run"]) == 0
    assert (tmp_path / "run" / "policy" / "0" / "policy.safetensors").read_bytes() == weights


def test_evaluate_sweeps(demo, tmp_path, monkeypatch):
    shutil.copytree(demo, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "run", "-m", "episodes=1,2", "videos=false"]) == 0
    found = [
        read_json(tmp_path / "run" / "evaluations" / name / "result.json")["episodes"]
        for name in ("1", "2")
    ]
    assert found == [1, 2]


def test_an_interrupted_demo_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def interrupt(*arguments):
        raise KeyboardInterrupt

    sizes = ("episodes=8", "steps=4", "evaluation_episodes=2", "seeds=[0,1]", "videos=false")
    with monkeypatch.context() as patch:
        patch.setattr("embodied.stages.label.label", interrupt)
        assert main(["demo", *sizes]) == 130
    (run,) = (tmp_path / "runs").iterdir()
    assert f"go on with: embodied demo resume={Path('runs') / run.name}" in capsys.readouterr().out
    before = [Dataset(run / "data" / str(seed)).digest for seed in (0, 1)]
    assert main(["demo", f"resume={run}"]) == 0
    assert [Dataset(run / "data" / str(seed)).digest for seed in (0, 1)] == before
    assert read_json(run / "result.json")["seeds"] == [0, 1]
    assert main(["demo", f"resume={tmp_path}"]) == 2
