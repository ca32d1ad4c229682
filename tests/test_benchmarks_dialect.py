import json
import sys

import pytest

from benchmarks import dialect, dialect_fuzz
from benchmarks.dialect_rewards import ACTION, PLACE_FIELDS, place, push
from rewards.code_reward import CodeReward
from rewards.dialect import parse
from sim.tasks.push import PushTask


def test_the_push_reward_is_the_recorded_reply():
    assert dialect.is_recorded(push)
    assert not dialect.is_recorded(place)


@pytest.mark.parametrize(
    ("function", "fields"),
    [(push, PushTask().fields), (place, PLACE_FIELDS)],
    ids=["push", "place"],
)
def test_plain_numpy_and_the_dialect_give_the_same_numbers(function, fields):
    reward = CodeReward(parse(dialect.source_of(function), fields, ACTION), {})
    batch = dialect.draw(fields, 500)
    assert dialect.check_equal(reward, function, batch) < 1e-5
    total, _ = dialect.plain(function, batch)
    assert total.std() > 0.1  # the stages of the reward are reached


def test_another_reward_is_not_equal():
    fields = PushTask().fields
    source = dialect.source_of(push).replace("8 * distance", "8.1 * distance")
    with pytest.raises(SystemExit, match="differ"):
        dialect.check_equal(
            CodeReward(parse(source, fields, ACTION), {}), push, dialect.draw(fields, 50)
        )


def test_every_figure_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(dialect, "BATCHES", (64, 20_000))
    monkeypatch.setattr(dialect, "SECONDS", 0.0)
    out = tmp_path / "result.json"
    options = ["--rounds", "1", "--transitions", "20000", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["dialect", *options])
    dialect.main()
    result = json.loads(out.read_text())
    for name in ("push", "place"):
        assert all(row["time_of_plain"] > 0 for row in result[name]["rows"].values())
        assert "batch 64, threads 1" in result[name]["rows"]
    assert result["throughput"]["transitions"] >= 20_000
    assert all(
        rate["median"] > 0
        for rates in result["throughput"]["transitions_per_s"].values()
        for rate in rates.values()
    )


def test_a_fuzzing_run_is_written(tmp_path, monkeypatch):
    out = tmp_path / "result.json"
    monkeypatch.setattr(sys, "argv", ["dialect_fuzz", "--programs", "20", "--out", str(out)])
    dialect_fuzz.main()
    result = json.loads(out.read_text())
    assert result["programs"] == 20
    assert result["findings"] == []
    assert result["most_work"]["operations_per_transition"] > 10
    assert result["peak_memory_mb"] > 1
