"""``embodied compare``: what it reads, refuses, computes, prints and draws, on made-up results."""

import json
import math
import shutil
from functools import partial

import numpy as np
import pytest

from embodied.cli import main
from embodied.comparison import table
from embodied.errors import UserError
from embodied.files import read_json
from embodied.profiles import stratified_interval
from embodied.runs import RunFolder
from embodied.scores import normalised_score
from embodied.stages.compare import CompareConfig, choose_metric, compare, describe, find
from embodied.statistics import summary

CHEETAH = "HalfCheetah-v5"


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    """The intervals' accuracy is no matter here; rliable's numbers hold it in test_profiles."""
    few = partial(stratified_interval, resamples=100)
    monkeypatch.setattr("embodied.comparison.stratified_interval", few)


def outcome(values, scale=20.0):
    """Success and return of seeds whose episodes all end alike."""
    episodes = [np.full(4, value) for value in values]
    returns = [scale * item for item in episodes]
    return {"success": summary(episodes), "return": summary(returns, with_iqm=True)}


@pytest.fixture(name="make")
def _make(tmp_path, monkeypatch):
    """Make a run folder with a result, by name and success of each seed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBODIED_RUNS", str(tmp_path / "runs"))

    def call(name, values, **changes):
        run = RunFolder(tmp_path / name)
        run.path.mkdir(parents=True)
        run.describe({"command": "train"}, {"command": "train"})
        result = {
            "schema_version": 1,
            "task": "push",
            "policy": "iql",
            "reward": {"kind": "file"},
            "seeds": list(range(len(values))),
            "episodes": 4,
            "evaluation_seed": 7,
            **outcome(values),
            "controls": {"behaviour": outcome([0.2] * 3), "bc": outcome([0.1, 0.0, 0.2])},
        }
        (run.path / "result.json").write_text(json.dumps({**result, **changes}))
        return name

    return call


def result_of(texts, metric=None, alpha=0.05):
    """What ``compare`` writes, without its page: the drawing takes longer than the numbers."""
    entries = [find(text) for text in texts]
    return describe(entries, choose_metric(entries, metric), alpha)


def test_the_numbers_of_a_row_are_those_of_its_seeds(make):
    make("a", [0.2, 0.4, 0.6, 0.9])
    row = result_of(["a", "a:bc"])["rows"]["a"]
    assert row["seeds"] == 4
    assert row["mean"] == pytest.approx(0.525)
    assert row["median"] == row["iqm"] == pytest.approx(0.5)
    assert row["optimality_gap"] == pytest.approx(0.475)
    assert row["per_seed"] == [0.2, 0.4, 0.6, 0.9]
    assert row["ci95"] == read_json("a/result.json")["success"]["ci95"]
    assert 0.2 <= row["iqm_ci95"][0] <= 0.5 <= row["iqm_ci95"][1] <= 0.9


def test_clearly_different_runs_are_told_apart(make, capsys):
    make("good", [0.9, 0.92, 0.94, 0.96, 0.98])
    make("poor", [0.1, 0.12, 0.14, 0.16, 0.18])
    assert main(["compare", "poor", "good", "name=test"]) == 0
    shown = capsys.readouterr().out
    (path,) = (RunFolder.open(item).path for item in (shown.split()[-1].rsplit("/", 1)[0],))
    (pair,) = read_json(path / "result.json")["pairs"]
    assert (pair["verdict"], pair["p_value"]) == ("smaller", pytest.approx(2 / 252))
    assert (pair["probability_of_improvement"], pair["ci95"]) == (0.0, [0.0, 0.0])
    assert pair["difference"] == pytest.approx(-0.8)
    assert "B is better than A at 0.05" in shown
    assert read_json(path / "manifest.json")["command"] == "compare"
    assert "runs:\n- poor\n- good\nname: test" in (path / "config.yaml").read_text()


def test_three_seeds_against_three_are_said_to_be_too_few(make, capsys):
    make("a", [0.9, 0.95, 1.0])
    make("b", [0.0, 0.05, 0.1])
    assert main(["compare", "a", "b"]) == 0
    told = "3 against 3 seeds cannot decide at 0.05 (the smallest possible p is 0.1)"
    assert f"p = 0.1: {told}" in capsys.readouterr().out
    assert result_of(["a", "b"])["pairs"][0]["verdict"] == "too few seeds"
    assert result_of(["a", "b"], alpha=0.1)["pairs"][0]["verdict"] == "larger"


def test_equal_runs_are_not_told_apart(make):
    make("a", [0.1, 0.5, 0.6, 0.9])
    make("b", [0.9, 0.6, 0.5, 0.1])
    result = result_of(["a", "b"])
    assert result["pairs"][0]["verdict"] == "not told apart"
    assert result["pairs"][0]["probability_of_improvement"] == 0.5
    assert "which does not make them equal" in table(result)


def test_controls_are_named_by_their_arm(make):
    make("a", [0.5, 0.6, 0.7])
    result = result_of(["a", "a:bc", "a:behaviour"])
    assert list(result["rows"]) == ["a", "a:bc", "a:behaviour"]
    assert result["rows"]["a:bc"]["mean"] == pytest.approx(0.1)
    assert len(result["pairs"]) == 3
    assert any("behaviour" in note for note in result["notes"])


def test_a_folder_whose_name_holds_a_colon_is_a_run(make):
    make("a:bc", [0.5, 0.6, 0.7])
    result = result_of(["a:bc", "a:bc:bc"])
    assert [row["arm"] for row in result["rows"].values()] == ["policy", "bc"]


def test_runs_of_the_same_name_keep_the_text_that_names_them(make):
    make("x/a", [0.5])
    make("y/a", [0.5])
    assert list(result_of(["x/a", "y/a"])["rows"]) == ["x/a", "y/a"]


def test_the_metric_is_success_where_all_have_it_else_the_return(make):
    make("a", [0.5, 0.6])
    make("b", [0.5, 0.6], success=None)
    assert result_of(["a", "a:bc"])["metric"] == "success"
    result = result_of(["a", "b"])
    assert result["metric"] == "return"
    assert result["rows"]["b"]["mean"] == pytest.approx(11.0)
    assert "optimality_gap" not in result["rows"]["b"]


def test_the_score_is_the_normalised_return_and_so_is_its_interval(make):
    for name, values in (("a", [0.5, 0.6, 0.9]), ("b", [0.1, 0.2, 0.4])):
        make(name, values, task=CHEETAH, **{"return": outcome(values, 5000.0)["return"]})
    result = result_of(["a", "b"], metric="score")
    stored = read_json("a/result.json")["return"]
    for key in ("mean", "ci95", "per_seed"):
        expected = normalised_score(CHEETAH, stored[key])
        np.testing.assert_allclose(result["rows"]["a"][key], expected)
    gap = 100 - result["rows"]["a"]["mean"]
    assert result["rows"]["a"]["optimality_gap"] == pytest.approx(gap)
    assert any("not with the published D4RL tables" in note for note in result["notes"])


def test_differences_in_the_evaluation_are_told(make):
    make("a", [0.5])
    make("b", [0.5], episodes=9, evaluation_seed=8)
    notes = result_of(["a", "b"])["notes"]
    assert "warning: the runs were evaluated with different numbers of episodes: 4, 9" in notes
    assert any("different seeds" in note for note in notes)
    make("c", [0.5])
    assert result_of(["a", "c"])["notes"] == []


@pytest.mark.parametrize("older", [None, "7", [7]])
def test_a_result_that_does_not_say_where_it_began_is_told(make, older):
    make("a", [0.5])
    make("b", [0.5], evaluation_seed=older)
    assert any("evaluate every run" in note for note in result_of(["a", "b"])["notes"])
    assert result_of(["b", "b:bc"])["notes"] == []


def test_seeds_that_became_nan_are_told_of_their_arm_alone(make):
    make("a", [0.5, 0.6])
    make("b", [0.5, 0.6])
    RunFolder.open("b").path.joinpath("diverged.json").write_text('{"bc": {"3": 10, "4": 20}}')
    told = "warning: b:bc is without the seeds that became NaN: 3, 4"
    assert result_of(["a", "b:bc"])["notes"] == [told]
    assert result_of(["a", "b"])["notes"] == []


@pytest.mark.parametrize(
    ("texts", "config", "told"),
    [
        (["a"], {}, "1 runs to compare"),
        (["a", "a"], {}, "none of them twice"),
        ([f"a{i}" for i in range(9)], {}, "9 runs to compare; name 2 to 8"),
        (["a", "absent"], {}, "absent is not a run folder"),
        (["a", "a:dance"], {}, "a has no arm 'dance'; it has behaviour, bc"),
        (["a", "other"], {}, "a is about push and other about reach; compare runs of one task"),
        (["a", "b"], {"metric": "speed"}, "unknown metric 'speed'"),
        (["a", "b"], {"metric": "success"}, "b has no success"),
        (["a", "b"], {"metric": "score"}, "D4RL has no reference scores for 'push'"),
        (["a", "b"], {"alpha": 1.5}, "alpha is 1.5"),
    ],
)
def test_what_cannot_be_compared_is_refused_and_leaves_no_run(make, tmp_path, texts, config, told):
    make("a", [0.5, 0.6])
    make("b", [0.5, 0.6], success=None)
    make("other", [0.5, 0.6], task="reach")
    with pytest.raises(UserError, match=told.replace("?", r"\?")):
        compare(texts, CompareConfig(**config))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"success": 3},
        {"success": {"mean": 1.0}},
        {"success": {"ci95": [0, 1], "per_seed": []}},
        {"success": {"ci95": [0], "per_seed": [0.5]}},
        {"success": {"ci95": [0, 1], "per_seed": [0.5, None]}},
        {"success": {"ci95": [0, 1], "per_seed": [math.nan]}},
        {"success": {"ci95": [0, 1], "per_seed": [1e300]}},
        {"success": {"ci95": [0, 1], "per_seed": ["x"]}},
        {"success": {"ci95": [0, 1], "per_seed": 4}},
        {"success": {"ci95": {}, "per_seed": [1.0]}},
        {"success": "text"},
        {"task": None},
        {"task": ["push"]},
        {"episodes": "many"},
        {"controls": {"bc": 4}},
    ],
)
def test_a_damaged_result_is_told_in_one_line(make, changes):
    make("a", [0.5, 0.6])
    make("b", [0.5, 0.6], **changes)
    with pytest.raises(UserError, match=r"b/result\.json is damaged"):
        compare(["a:bc", "b:bc" if "controls" in changes else "b"], CompareConfig())


def test_a_run_without_a_result_is_refused(make):
    make("a", [0.5, 0.6])
    make("b", [0.5, 0.6])
    (RunFolder.open("b").path / "result.json").unlink()
    with pytest.raises(UserError, match=r"result\.json is missing"):
        compare(["a", "b"], CompareConfig())


def test_a_trained_run_and_its_copy_are_compared(run, place, capsys):
    shutil.copytree(run, place / "again")
    assert main(["compare", "run", "again", "run:bc", "metric=return"]) == 0
    shown = capsys.readouterr().out
    assert "push, return" in shown
    assert "A over B: difference +0.00, probability of improvement 0.50" in shown
    assert "cannot decide" in shown
    assert "warning" not in shown  # a real result says where its episodes began
