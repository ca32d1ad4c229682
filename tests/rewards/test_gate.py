"""The measures of the gate on arrays whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.code_reward import CodeReward
from rewards.dialect import parse
from rewards.gate import bounds
from rewards.gate.correlation import agreement_with, mean_ranks
from rewards.gate.edges import edges, not_finite
from rewards.gate.exploit import Found
from rewards.gate.ordering import Outcomes, agreement_of, outcomes, share_above_failures
from rewards.gate.report import Gate
from rewards.gate.terms import explained, saturation
from rewards.gate.verdict import softened
from tests.rewards.gate_programs import summed

# ---- ordering and correlation ------------------------------------------------------------------


def test_episodes_are_gathered_with_their_outcome():
    total = np.array([1.0, 3.0, 5.0, 5.0, 0.0, 2.0, 4.0])
    success = np.array([False, True, False, False, True, False, False])
    episode = np.array([7, 7, 3, 3, 9, 9, 9])
    found = outcomes(total, success, episode)
    np.testing.assert_array_equal(found.mean, [5.0, 2.0, 2.0])  # in the order of their numbers
    np.testing.assert_array_equal(found.success, [False, True, False])
    np.testing.assert_array_equal(found.failure, [True, False, False])


def made(successes, failures, between=()) -> Outcomes:
    values = [*successes, *failures, *between]
    index = np.arange(len(values))
    ends = len(successes), len(successes) + len(failures)
    return Outcomes(
        np.array(values, float), index < ends[0], (index >= ends[0]) & (index < ends[1])
    )


def test_the_share_counts_successes_above_the_best_failure_alone():
    assert share_above_failures(made([3, 5, 2, 9], [1, 2, 2.5], between=[100])) == 0.75
    assert share_above_failures(made([2], [2])) == 0.0  # a tie is not above


@pytest.mark.parametrize("found", [made([1, 2], []), made([], [1, 2]), made([], [], [3.0])])
def test_one_kind_of_episode_never_passes(found):
    assert share_above_failures(found) is None
    assert bounds.ordering(found).verdict == "undecided"


def test_ordering_is_held_to_its_bound():
    assert bounds.ordering(None).verdict == "undecided"
    assert bounds.ordering(made(range(10, 20), range(10))).verdict == "pass"
    four_fifths = made([20] * 4 + [0], [10])
    assert bounds.ordering(four_fifths).value == 0.8
    assert bounds.ordering(four_fifths).verdict == "pass"
    assert bounds.ordering(made(range(10), range(10, 20))).verdict == "fail"
    # One lucky failure among a hundred: nearly all pairs are in order.
    assert bounds.ordering(made(range(10, 20), [*[0] * 99, 50])).verdict == "warn"
    # A single success below cannot tell.
    assert bounds.ordering(made([1], [2])).verdict == "warn"


def test_pairs_leave_out_what_succeeded_on_the_way():
    assert agreement_of(made([3], [1, 2], between=[100])) == 1.0
    assert agreement_of(made([3], [], between=[100])) is None


def test_correlation_is_held_to_chance():
    success = np.repeat([True, False], 20)
    for values, verdict in ((success, "pass"), (~success, "fail"), (np.zeros(40), "warn")):
        found = Outcomes(values.astype(float), success, ~success)
        assert bounds.correlation(values.astype(float), success, found).verdict == verdict
    # Transitions alone are no ground to refuse, and one outcome alone tells nothing.
    assert bounds.correlation((~success).astype(float), success, None).verdict == "warn"
    assert bounds.correlation(success.astype(float), success[:20], None).verdict == "undecided"
    assert bounds.correlation(success.astype(float), None, None).verdict == "undecided"


def test_ranks_of_ties_are_shared():
    np.testing.assert_array_equal(mean_ranks(np.array([2.0, 1.0, 2.0])), [2.5, 1.0, 2.5])


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30))
def test_pair_accuracy_counts_pairs(rows):
    values = np.array([float(value) for value, _ in rows])
    success = np.array([flag for _, flag in rows])
    found = agreement_with(values, success)
    if success.all() or not success.any():
        assert found is None
        return
    pairs = np.sign(values[success][:, None] - values[~success][None, :])
    assert found["pair_accuracy"] == pytest.approx(float((pairs + 1).mean() / 2))
    assert -1 - 1e-9 <= found["spearman"] <= 1 + 1e-9


def test_spearman_with_ties_is_pearson_of_mean_ranks():
    values = np.array([1.0, 2.0, 2.0, 5.0, 7.0])
    success = np.array([False, False, True, False, True])
    expected = np.corrcoef([1, 2.5, 2.5, 4, 5], success)[0, 1]
    assert agreement_with(values, success)["spearman"] == pytest.approx(expected)


# ---- terms -------------------------------------------------------------------------------------


def test_saturation_counts_both_ends_within_the_tolerance():
    values = np.array([0.0, 0.0005, 0.5, 0.9995, 1.0, 1.0, 0.002, 0.4])
    assert saturation(values) == {"at_max": 3 / 8, "at_min": 2 / 8, "at_either": 5 / 8}
    assert set(saturation(np.ones(4)).values()) == {1.0}


def test_saturation_warns_of_a_still_total_and_of_a_dead_term():
    def verdict(total, **terms):
        return bounds.saturation(
            {"": saturation(total)} | {k: saturation(v) for k, v in terms.items()}
        )

    line, flag = np.linspace(0, 1, 100), np.arange(100) < 10
    assert verdict(line, line=line, bonus=flag.astype(float)).verdict == "pass"
    assert verdict(flag.astype(float), bonus=flag.astype(float)).verdict == "warn"
    dead = verdict(line, line=line, dead=np.ones(100))
    assert dead.verdict == "warn"
    assert "dead" in dead.sentence


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_explained_shares_sum_to_one(seed, count):
    rng = np.random.default_rng(seed)
    terms = {str(i): rng.normal(rng.normal(), 1 + rng.random(), 50) for i in range(count)}
    shares = explained(sum(terms.values()), terms)
    assert sum(shares.values()) == pytest.approx(1.0)


def test_dominance_names_the_term_and_its_share():
    rng = np.random.default_rng(0)
    terms = {"small": rng.normal(size=1000), "large": 1000 * rng.normal(size=1000)}
    found = bounds.dominance(explained(terms["small"] + terms["large"], terms))
    assert found.verdict == "warn"
    assert "'large'" in found.sentence
    assert found.value == pytest.approx(1.0, abs=0.01)
    terms["large"] /= 1000
    assert bounds.dominance(explained(terms["small"] + terms["large"], terms)).verdict == "pass"
    assert bounds.dominance({"only": 1.0}).verdict == "undecided"
    assert explained(np.ones(3), {"one": np.ones(3)}) == {"one": 0.0}


NEAR = "-np.linalg.norm(next_state.cube_position - next_state.target_position, axis=-1)"


@pytest.fixture(name="code")
def _code(fields, action):
    return lambda **terms: CodeReward(parse(summed(**terms), fields, action), {"kind": "file"})


# ---- edges -------------------------------------------------------------------------------------


def test_edges_hold_what_they_say(task, make_transitions):
    found = dict(edges(task, make_transitions(50)))
    assert not found["tip_position is at zero"].next_state["tip_position"].any()
    assert not found["every field is at zero"].state["joint_position"].any()
    assert (found["grasp_force is at its high"].state["grasp_force"] == 20.0).all()
    both = found["cube_position and target_position coincide"].next_state
    np.testing.assert_array_equal(both["cube_position"], both["target_position"])
    assert both["cube_position"].any()
    over = found["tip_position is straight above cube_position"].next_state
    np.testing.assert_array_equal(over["tip_position"][:, :2], over["cube_position"][:, :2])
    assert (over["tip_position"][:, 2] > over["cube_position"][:, 2]).all()
    still = found["nothing moves"]
    np.testing.assert_array_equal(still.state["tip_position"], still.next_state["tip_position"])
    np.testing.assert_allclose(found["the action is at its low"].action, -0.15)
    # Joint angles are no positions in one place, and 6 numbers match no 3.
    assert not [name for name in found if "joint_position" in name and "coincide" in name]


@pytest.mark.parametrize(
    ("term", "edge"),
    [
        ("1.0 / np.linalg.norm({gap}, axis=-1)", "cube_position and target_position coincide"),
        ("np.log(next_state.grasp_force)", "grasp_force is at zero"),
        ("np.sqrt(19.0 - next_state.grasp_force)", "grasp_force is at its high"),
        ("1.0 / np.sum(np.abs(action), axis=-1)", "the action is at zero"),
        (
            "1.0 / np.linalg.norm(next_state.tip_position - state.tip_position, axis=-1)",
            "nothing moves",
        ),
        ("{gap}[:, 0] / np.hypot({gap}[:, 0], {gap}[:, 1])", "straight above target_position"),
    ],
)
def test_each_unguarded_term_is_found_at_its_edge(term, edge, code, task, make_transitions):
    gap = "(next_state.cube_position - next_state.target_position)"
    sample = make_transitions(50)
    sample.next_state["grasp_force"][:] = 5.0  # within its bounds, away from the edges
    found, tried = not_finite(code(term=term.format(gap=gap)), task, sample)
    assert any(edge in name for name in found), found
    verdict = bounds.edges(found, tried)
    assert verdict.verdict == "fail"
    assert "guard" in verdict.sentence


def test_guarded_terms_pass_every_edge(code, task, make_transitions):
    gap = "(next_state.cube_position - next_state.target_position)"
    guarded = f"1.0 / np.maximum(np.linalg.norm({gap}, axis=-1), 0.001)"
    found, tried = not_finite(code(term=guarded), task, make_transitions(50))
    assert found == []
    assert tried == len(list(edges(task, make_transitions(50))))
    assert bounds.edges(found, tried).verdict == "pass"


# ---- all together ------------------------------------------------------------------------------


def test_a_refusal_of_the_task_only_warns_for_another_sentence():
    refused = bounds.distance("EPIC", 1.0)
    assert softened(refused).verdict == "warn"
    assert softened(refused).sentence == refused.sentence
    passed = bounds.distance("EPIC", 0.1)
    assert softened(passed) is passed


def test_without_episodes_the_overall_verdict_is_undecided(code, task, make_transitions):
    found = Gate(task, make_transitions(100)).report(code(near=NEAR))
    assert found.measures["ordering"].verdict == "undecided"
    assert {found.measures[name].verdict for name in ("epic", "starc", "exploit")} == {"undecided"}
    assert found.verdict in ("undecided", "warn")
    assert found.failures == []


def test_a_reference_that_the_sample_does_not_fit_leaves_distances_undecided(
    code, task, make_transitions
):
    sample = make_transitions(100)
    reference = code(force="next_state.grasp_force")
    for fields in (sample.state, sample.next_state):
        del fields["grasp_force"]
    found = Gate(task, sample, reference=reference).report(code(near=NEAR)).measures["epic"]
    assert found.verdict == "undecided"
    assert "grasp_force" in found.sentence


# ---- exploits ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "successes", "verdict"),
    [
        (2.0, [1.0] * 5, "fail"),  # above all of enough
        (2.0, [1.0] * 4, "warn"),  # four below may be chance: 1 / 16 > 5 %
        (2.0, [1.0], "warn"),
        (2.0, [1.0, 1.0, 1.0, 1.0, 3.0], "warn"),  # above half
        (0.5, [1.0, 1.0, 1.0, 1.0, 3.0], "pass"),
        (2.0, [], "undecided"),
        (None, [1.0], "pass"),
    ],
)
def test_a_failure_that_pays_more_than_enough_successes_is_an_exploit(failure, successes, verdict):
    found = Found(episodes=64, best_failure=failure, successes=tuple(successes))
    assert bounds.exploit(found, None).verdict == verdict
    known = made(successes, [0.0])
    assert bounds.exploit(Found(64, failure, ()), known).verdict == verdict
