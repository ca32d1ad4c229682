"""A reward of several saved rewards: made, kept, loaded, and refused where it is damaged."""

import json

import numpy as np
import pytest

from embodied.errors import UserError
from embodied.types import RewardContext, Transitions
from rewards import makers
from rewards.ensemble import EnsembleReward
from sim.tasks.reach import ReachTask

SOURCES = (
    """\
def reward(state, action, next_state):
    distance = np.linalg.norm(next_state.tip_position - next_state.target_position, axis=-1)
    return -distance, {"distance": -distance}
""",
    """\
def reward(state, action, next_state):
    effort = np.sum(action ** 2, axis=-1)
    distance = np.linalg.norm(next_state.tip_position - next_state.target_position, axis=-1)
    return -900.0 * distance - effort, {"distance": -900.0 * distance, "effort": -effort}
""",
)


@pytest.fixture(name="runs")
def _runs(tmp_path, sample):
    """Two run folders with a reward each."""
    made = []
    for index, source in enumerate(SOURCES):
        code, run = tmp_path / f"{index}.py", tmp_path / f"run{index}"
        code.write_text(source, encoding="utf-8")
        makers.from_file(context(run / "reward", sample), path=str(code))
        made.append(str(run))
    return tuple(made)


@pytest.fixture(name="sample")
def _sample():
    rng, task, rows = np.random.default_rng(0), ReachTask(), 64

    def state():
        return {
            name: rng.normal(size=(rows, *field.shape)).astype("f4")
            for name, field in task.fields.items()
        }

    return Transitions(
        observation=np.zeros((rows, 3), "f4"),
        action=rng.normal(size=(rows, *task.action.shape)).astype("f4"),
        next_observation=np.zeros((rows, 3), "f4"),
        terminated=np.zeros(rows, bool),
        truncated=np.zeros(rows, bool),
        state=state(),
        next_state=state(),
    )


def context(folder, sample):
    return RewardContext(folder=folder, task=ReachTask(), sample=sample)


def test_it_is_the_mean_of_z_scores_minus_weighted_variance(runs, sample, tmp_path):
    made = makers.from_runs(
        context(tmp_path / "ensemble" / "reward", sample), members=runs, uncertainty_weight=2.0
    )
    assert isinstance(made, EnsembleReward)
    totals = np.array([member.score(sample).total for member in made.members], np.float64)
    scaled = (totals - totals.mean(1, keepdims=True)) / totals.std(1, keepdims=True)
    expected = scaled.mean(axis=0) - 2.0 * scaled.var(axis=0)
    score = made.score(sample)
    np.testing.assert_allclose(score.total, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(score.total, score.terms["mean"] + score.terms["uncertainty"])


def test_a_saved_one_scores_the_same_and_says_where_it_came_from(runs, sample, tmp_path):
    kept = tmp_path / "ensemble"
    made = makers.from_runs(context(kept / "reward", sample), members=runs)
    again = makers.from_run(context(tmp_path / "copy", None), path=str(kept))
    np.testing.assert_array_equal(again.score(sample).total, made.score(sample).total)
    assert again.provenance() == made.provenance()
    hashes = [member["source_sha256"] for member in made.provenance()["members"]]
    assert len(set(hashes)) == 2
    assert json.loads((tmp_path / "copy" / "provenance.json").read_text()) == made.provenance()


def test_one_member_is_no_ensemble(runs, sample, tmp_path):
    for members in ((), runs[:1]):
        with pytest.raises(UserError, match="at least two runs"):
            makers.from_runs(context(tmp_path / "e", sample), members=members)
    with pytest.raises(UserError, match="needs transitions"):
        makers.from_runs(context(tmp_path / "e", None), members=runs)
    for weight in (-1.0, float("nan")):
        with pytest.raises(UserError, match="uncertainty_weight"):
            makers.from_runs(
                context(tmp_path / "e", sample), members=runs, uncertainty_weight=weight
            )


@pytest.mark.parametrize(
    "changes",
    [
        {"mean": [0.0]},
        {"std": [1.0, 0.0]},
        {"std": [1.0, "x"]},
        {"members": 2},
        {"members": [{}]},
        {"uncertainty_weight": None},
        {"uncertainty_weight": -1},
        {"schema_version": 9},
        {"mean": [1.0, True]},
    ],
)
def test_a_damaged_one_is_refused(runs, sample, tmp_path, changes):
    kept = tmp_path / "ensemble"
    makers.from_runs(context(kept / "reward", sample), members=runs)
    path = kept / "reward" / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError):
        makers.from_run(context(tmp_path / "copy", sample), path=str(kept))


def test_changed_code_of_a_member_is_refused(runs, sample, tmp_path):
    kept = tmp_path / "ensemble"
    makers.from_runs(context(kept / "reward", sample), members=runs)
    path = kept / "reward" / "member-1" / "reward.py"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(UserError, match="changed after it was approved"):
        makers.from_run(context(tmp_path / "copy", sample), path=str(kept))
