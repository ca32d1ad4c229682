"""``embodied compare``: what it reads, refuses, computes, prints and draws, on made-up results."""

import json
import math
import shutil
import sys

import numpy as np
import pytest

from embodied.cli import main
from embodied.comparison import pairs_of, profile_of, statistics_of, table
from embodied.errors import UserError
from embodied.files import read_json
from embodied.report.comparison import render
from embodied.runs import RunFolder
from embodied.scores import normalised_score
from embodied.stages.compare import CompareConfig, compare
from embodied.statistics import summary

CHEETAH = "HalfCheetah-v5"


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

    def call(name, values, *, start=7, **changes):
        run = RunFolder(tmp_path / name)
        (run.path / "evaluations" / "0").mkdir(parents=True)
        run.describe({"command": "train", "evaluation_seed": start}, {"command": "train"})
        result = {
            "schema_version": 1,
            "task": "push",
            "policy": "iql",
            "reward": {"kind": "file"},
            "seeds": list(range(len(values))),
            "episodes": 4,
            **outcome(values),
            "controls": {"behaviour": outcome([0.2] * 3), "bc": outcome([0.1, 0.0, 0.2])},
        }
        (run.path / "result.json").write_text(json.dumps({**result, **changes}))
        return name

    return call


def result_of(texts, **config):
    return read_json(compare(texts, CompareConfig(**config)).path / "result.json")


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
    make("b", [0.5], episodes=9, start=8)
    notes = result_of(["a", "b"])["notes"]
    assert "warning: the runs were evaluated with different numbers of episodes: 4, 9" in notes
    assert any("different seeds" in note for note in notes)
    (RunFolder(RunFolder.open("b").path).path / "evaluations" / "1").mkdir()
    assert any("evaluate every run" in note for note in result_of(["a", "b"])["notes"])
    make("c", [0.5])
    assert result_of(["a", "c"])["notes"] == []


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


def test_a_run_without_a_result_or_with_a_broken_config(make):
    make("a", [0.5, 0.6])
    make("b", [0.5, 0.6])
    (RunFolder.open("b").path / "config.yaml").write_text("evaluation_seed: [")
    assert any("evaluate every run" in note for note in result_of(["a", "b"])["notes"])
    (RunFolder.open("b").path / "result.json").unlink()
    with pytest.raises(UserError, match=r"result\.json is missing"):
        compare(["a", "b"], CompareConfig())


# ---- the page ------------------------------------------------------------------------------------


def made_up(names, metric="success"):
    rng = np.random.default_rng(0)
    scores = {name: rng.uniform(0.2, 0.9, 4) for name in names}
    return {
        "schema_version": 1,
        "task": "push",
        "metric": metric,
        "alpha": 0.05,
        "rows": {
            key: {**statistics_of(item, np.array([0.1, 0.9]), metric), "run": key}
            for key, item in scores.items()
        },
        "pairs": pairs_of(scores, 0.05),
        "profile": profile_of(scores, metric),
        "notes": ["a note"],
    }


@pytest.mark.parametrize("metric", ["success", "return", "score"])
def test_the_page_shows_every_run_pair_and_chart(metric):
    result = made_up(["first", "second", "third"], metric)
    page = render(result, {"python": "3"})
    assert page.count("<figure>") == 3
    assert all(
        f"{letter} {name}" in page for letter, name in zip("ABC", result["rows"], strict=True)
    )
    assert all(text in page for text in ("A over B", "A over C", "B over C", "a note"))
    assert ("short of the best" in page) == (metric != "return")
    assert page == render(result, {"python": "3"})


def test_the_page_loads_nothing_and_text_from_outside_stays_inert():
    page = render(made_up(["<script>alert(1)</script>", '"><img src=x>']), {"x": "<b>"})
    assert "<script" not in page
    assert "<img" not in page
    assert "<b>" not in page
    assert "default-src 'none'" in page
    assert not [word for word in ("http://", "https://") if word in page.replace("www.w3.org", "")]


def test_without_matplotlib_the_tables_remain(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("embodied.report.charts.find_spec", lambda name: None)
    page = render(made_up(["first", "second"]), {})
    assert "<figure>" not in page
    assert "Charts need matplotlib" in page
    assert page.count("<table>") == 2


def test_a_trained_run_and_its_copy_are_compared(run, place, capsys):
    shutil.copytree(run, place / "again")
    assert main(["compare", "run", "again", "run:bc", "metric=return"]) == 0
    shown = capsys.readouterr().out
    assert "push, return" in shown
    assert "A over B: difference +0.00, probability of improvement 0.50" in shown
    assert "cannot decide" in shown
