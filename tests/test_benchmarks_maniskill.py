"""The arithmetic of ``benchmarks.maniskill``, without ManiSkill."""

import numpy as np
import pytest

from benchmarks import maniskill
from embodied.environments import make_task


def test_the_rank_correlation_is_spearmans():
    values = np.array([3.0, -1.0, 0.5, 10.0])
    assert maniskill.spearman(values, np.exp(values)) == pytest.approx(1)
    assert maniskill.spearman(values, -(values**3)) == pytest.approx(-1)
    # By hand: the ranks 1, 2, 3, 4 beside 1, 3, 2, 4 give 1 - 6 * 2 / (4 * 15).
    assert maniskill.spearman([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)
    # Ties share their mean rank: 1.5, 1.5, 3 beside 1, 2, 3.
    assert maniskill.spearman([0, 0, 7], [1, 2, 3]) == pytest.approx(np.sqrt(3) / 2)


def test_correlations_are_told_per_transition_per_episode_and_per_kind():
    score = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]])
    dense = np.array([[1.0, 0.0], [3.0, 2.0], [5.0, 4.0], [7.0, 6.0]])
    found = maniskill.correlations(
        {
            "score": score,
            "dense": dense,
            "success": np.array([False, False, True, False]),
            "kind": np.array([0, 1, 0, 1]),
        }
    )
    assert found["episodes"] == 4
    assert found["transitions"] == 8
    assert found["spearman_episodes"] == pytest.approx(1)
    assert 0.8 < found["spearman_transitions"] < 1
    assert found["success"] == 0.25
    assert found["kinds"]["true_goal"]["success"] == 0.5
    assert found["kinds"]["wrong_goal"] == {
        "share": 0.5,
        "success": 0.0,
        "spearman_transitions": pytest.approx(0.6),
    }
    assert found["kinds"]["random"] == {
        "share": 0.0,
        "success": None,
        "spearman_transitions": None,
    }


@pytest.mark.parametrize("task", maniskill.TASKS)
def test_the_experts_reward_is_what_is_measured_unless_a_run_is_named(task, tmp_path):
    reward = maniskill.load_reward(task, None, tmp_path)
    assert reward.provenance()["task"] == task
    assert {item.name for item in reward.program.inputs if item.source != "action"} <= set(
        make_task(task).fields
    )
