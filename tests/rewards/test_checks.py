import json
from dataclasses import replace

import numpy as np
import pytest

from embodied.errors import UserError
from embodied.types import Score
from rewards.checks import check, diagnostics, failures, select
from rewards.constant import ConstantReward
from rewards.success import SuccessReward


class Made:
    """A reward from a function of the batch, to have every fault once."""

    def __init__(self, function):
        self.function = function

    def score(self, batch):
        total = self.function(batch)
        return Score(total, {"term": total})

    def provenance(self):
        return {"kind": "made"}


def height(batch):
    return batch.next_state["cube_position"][:, 2].astype(np.float32)


def test_a_sound_reward_passes(make_transitions):
    assert failures(Made(height), make_transitions(40)) == []
    check(Made(height), make_transitions(40))


def impure():
    calls = iter(range(1000))
    return lambda batch: height(batch) + np.float32(next(calls))


def with_nan(batch):
    values = height(batch).copy()
    values[0] = np.nan
    return values


FAULTS = [
    (lambda batch: height(batch)[:, None], "shape"),
    (lambda batch: height(batch)[:-1], "shape"),
    (with_nan, "1 of 40"),
    (impure(), "differs between two calls"),
    (lambda batch: height(batch) - height(batch).mean(), "alone and inside"),
    (lambda batch: np.full(len(batch), 3.0, np.float32), "is the same"),
    (lambda batch: height(batch) * 1e-9, "is the same"),
    (lambda batch: height(batch) * 1e6, "scale it"),
]


@pytest.mark.parametrize(("function", "part"), FAULTS)
def test_each_fault_is_told(function, part, make_transitions):
    found = failures(Made(function), make_transitions(40))
    assert any(part in sentence for sentence in found)
    with pytest.raises(UserError, match="failed its checks"):
        check(Made(function), make_transitions(40))


def test_an_error_of_the_reward_is_a_failure(make_transitions):
    batch = replace(make_transitions(40), columns={})
    assert failures(SuccessReward(), batch) == [
        "the data has no success column, so its true reward is unknown; use data from a "
        "simulated task, or another reward"
    ]


def test_select_takes_rows_of_every_column(make_transitions):
    batch = make_transitions(10)
    part = select(batch, slice(2, 5))
    assert len(part) == 3
    np.testing.assert_array_equal(part.columns["success"], batch.columns["success"][2:5])
    np.testing.assert_array_equal(
        part.next_state["cube_position"], batch.next_state["cube_position"][2:5]
    )


def test_diagnostics_of_the_true_reward_agree_perfectly(make_transitions):
    batch = make_transitions(200)
    found = diagnostics(SuccessReward(), batch, batch.columns["success"])
    assert found["agreement"]["transitions"] == pytest.approx(
        {"spearman": 1.0, "pair_accuracy": 1.0}
    )
    assert found["terms"]["success"]["share"] == 1.0
    assert found["saturation"]["at_max"] == pytest.approx(batch.columns["success"].mean())
    json.dumps(found, allow_nan=False)


def test_diagnostics_of_the_opposite_and_of_a_constant(make_transitions):
    batch = make_transitions(200)
    success = batch.columns["success"]
    opposite = diagnostics(Made(lambda b: -b.columns["success"].astype(float)), batch, success)
    assert opposite["agreement"]["transitions"]["spearman"] == pytest.approx(-1.0)
    constant = diagnostics(ConstantReward(1.0), batch, success)["agreement"]["transitions"]
    assert constant == {"spearman": 0.0, "pair_accuracy": 0.5}


def test_diagnostics_of_episodes_compare_returns(make_transitions):
    batch = make_transitions(6)
    values = np.array([0, 1, 0, 0, 5, 5], dtype=np.float32)
    success = np.array([False, True, False, False, False, True])
    episode = np.array([7, 7, 3, 3, 9, 9])
    found = diagnostics(Made(lambda b: values), batch, success, episode)
    assert found["agreement"]["episodes"]["pair_accuracy"] == 1.0
    carried = replace(batch, columns={"episode": episode})
    assert diagnostics(Made(lambda b: values), carried, success) == found
    ended = diagnostics(Made(lambda b: values), batch, success & (episode != 9), episode)
    assert ended["agreement"]["episodes"]["pair_accuracy"] == 0.5, "success is judged at the end"


@pytest.mark.parametrize("success", [None, np.zeros(20, bool), np.ones(20, bool)])
def test_agreement_is_unknown_without_both_outcomes(success, make_transitions):
    found = diagnostics(Made(height), make_transitions(20), success)
    assert found["agreement"] == {"transitions": None, "episodes": None}


def test_a_total_that_its_terms_do_not_explain_shows(make_transitions):
    class Hidden(Made):
        def score(self, batch):
            return Score(height(batch) + 2, {"term": height(batch)})

    assert diagnostics(Hidden(height), make_transitions(20))["unexplained"] == pytest.approx(2)
