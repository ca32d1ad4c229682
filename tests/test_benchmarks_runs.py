"""The benchmarks that run whole commands, at a size that proves nothing but that they run."""

import hashlib
import json

import pytest

from benchmarks import feedback, locomotion
from embodied.files import read_json


@pytest.fixture(autouse=True)
def _quiet_machine(monkeypatch):
    monkeypatch.setattr("sys.argv", ["benchmark"])


def test_locomotion_trains_on_the_recorded_reply_and_writes_what_came_out(tmp_path, capsys):
    pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")
    out = tmp_path / "result.json"
    tiny = ("steps=640", "policy.rollout_steps=640", "policy.batch_size=64", "env.max_steps=40")
    places = ("--runs", str(tmp_path / "runs"), "--out", str(out))
    given = ("hopper_forward", "--seeds", "3", "--episodes", "4", "--jobs", "1")
    locomotion.main([*given, *places, *tiny, "env.num_envs=8"])
    result = json.loads(out.read_text())
    (seed,) = result["seeds"]
    assert seed["seed"] == 3
    assert result["success"] == result["least"] == seed["success"] == 0.0  # 40 steps are no 8 m
    assert [step for step, _ in seed["curve"]] == list(range(64, 641, 64))
    assert result["cpu_s_per_seed"] > 1.0
    (path,) = (tmp_path / "runs" / "hopper_forward-3").iterdir()
    program = (path / "reward" / "reward.py").read_bytes()
    assert seed["reward_sha256"] == hashlib.sha256(program).hexdigest()
    assert read_json(path / "reward" / "provenance.json")["provider"] == "recorded"
    assert "seed 3: success 0.00" in capsys.readouterr().out


def test_the_dialogue_trains_every_round_on_its_own_program(tmp_path):
    out = tmp_path / "result.json"
    arguments = {"seeds": 1, "steps": 64, "episodes": 60, "threads": 1}
    given = [str(item) for key, value in arguments.items() for item in (f"--{key}", value)]
    feedback.main([*given, "--folder", str(tmp_path / "work"), "--out", str(out)])
    result = json.loads(out.read_text())
    assert [item["said"] for item in result["rounds"]] == ["", *feedback.SAID]
    assert len({item["reward_sha256"] for item in result["rounds"]}) == len(result["rounds"])
    assert all(0.0 <= item["success"]["mean"] <= 1.0 for item in result["rounds"])
    assert result["steps"] == 64


def test_a_command_that_fails_ends_the_benchmark_with_its_words(tmp_path):
    with pytest.raises(SystemExit, match="nowhere is not a dataset folder"):
        feedback.command("label", ["nowhere", "reward=expert"], tmp_path, threads=1)
