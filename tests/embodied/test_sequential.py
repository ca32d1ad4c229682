"""The sequential comparison: exact small cases, its level by simulation, and its power."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.errors import UserError
from embodied.sequential import (
    MAX_AGENTS,
    SequentialComparison,
    compare_agents,
    partitions,
    smallest_p_value,
)


def exact_p(first, second):
    """Two-sample permutation p-value of the absolute mean difference, by full enumeration."""
    pooled = [*first, *second]
    observed = abs(np.mean(first) - np.mean(second))
    count = extreme = 0
    for chosen in itertools.combinations(range(len(pooled)), len(first)):
        rest = [pooled[i] for i in range(len(pooled)) if i not in chosen]
        gap = abs(np.mean([pooled[i] for i in chosen]) - np.mean(rest))
        count, extreme = count + 1, extreme + (gap >= observed - 1e-12)
    return extreme / count


def only(comparison):
    (decision,) = comparison.decisions.values()
    return decision


def wrong(comparison):
    return any(item.verdict in ("larger", "smaller") for item in comparison.decisions.values())


@pytest.mark.parametrize(
    ("first", "second", "p_value", "verdict"),
    [
        ([1, 2, 3], [4, 5, 6], 2 / 20, "equal"),  # three against three can never decide at 0.05
        ([1, 2, 3, 4], [5, 6, 7, 8], 2 / 70, "smaller"),
        ([5, 6, 7, 8], [1, 2, 3, 4], 2 / 70, "larger"),
        ([0.1, 0.2, 0.3, 0.7], [0.7, 0.3, 0.2, 0.1], 1.0, "equal"),
        ([1.0, 1.0], [1.0, 1.0], 1.0, "equal"),
    ],
)
def test_two_agents_by_hand(first, second, p_value, verdict):
    decision = only(compare_agents({"a": first, "b": second}))
    assert decision.p_value == pytest.approx(p_value)
    assert decision.verdict == verdict


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(-9, 9), min_size=1, max_size=4),
    st.lists(st.integers(-9, 9), min_size=1, max_size=4),
)
def test_the_p_value_of_two_agents_is_that_of_full_enumeration(first, second):
    found = only(compare_agents({"a": first, "b": second}))
    assert found.p_value == pytest.approx(exact_p(first, second))
    assert found.p_value >= smallest_p_value(len(first), len(second)) - 1e-12


@pytest.mark.parametrize(("first", "second"), [(1, 1), (3, 3), (4, 4), (3, 5), (1, 7), (6, 2)])
def test_the_smallest_p_value_is_that_of_the_most_extreme_split(first, second):
    values = 2.0 ** np.arange(first + second)
    extremes = (values[:first], values[first:]), (values[second:], values[:second])
    assert smallest_p_value(first, second) == pytest.approx(
        min(exact_p(*pair) for pair in extremes)
    )


def test_over_all_splits_of_the_same_scores_the_level_is_kept_exactly():
    scores = [2.0**power for power in range(8)]  # no two splits have the same gap but mirrored ones
    for alpha, expected in ((0.05, 2), (0.1, 6), (0.2, 14), (0.5, 34)):
        rejected = 0
        for chosen in itertools.combinations(range(8), 4):
            first = [scores[i] for i in chosen]
            second = [scores[i] for i in range(8) if i not in chosen]
            rejected += wrong(compare_agents({"a": first, "b": second}, alpha=alpha))
        assert rejected <= alpha * math.comb(8, 4)
        assert rejected == expected  # nor is it wasted: the next split would exceed the level


def test_rounding_and_offsets_do_not_break_ties():
    for offset in (0.0, 0.1, 1e4):
        scores = {"a": offset + np.array([0.1, 0.2, 0.3]), "b": offset + np.array([0.4, 0.5, 0.6])}
        assert only(compare_agents(scores)).p_value == pytest.approx(0.1)


def test_few_random_tracks_agree_with_enumeration():
    rng = np.random.default_rng(3)
    scores = {"a": rng.normal(size=7), "b": rng.normal(1.0, size=6)}
    assert math.comb(13, 6) == 1716
    exact = only(compare_agents(scores, permutations=1716)).p_value
    random = only(compare_agents(scores, permutations=1715)).p_value
    assert random != exact
    assert random == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / 1716))


def test_partitions_are_all_ways_to_take_agents_for_equal():
    assert [len(partitions(n)) + 1 for n in range(1, 7)] == [1, 2, 5, 15, 52, 203]  # Bell's numbers
    assert sorted(partitions(3)) == [((0, 1),), ((0, 1, 2),), ((0, 2),), ((1, 2),)]
    assert ((0, 3), (1, 2)) in partitions(4)


def test_a_clear_difference_stops_early_and_its_agent_gets_no_more_scores():
    rng = np.random.default_rng(0)
    comparison = SequentialComparison("abc", max_interims=3, permutations=999)

    def new(names):
        return {name: rng.normal(50.0 * (name == "c"), 1.0, 5) for name in names}

    first = comparison.add(new("abc"))
    assert first["a", "b"].verdict == "undecided"
    assert first["a", "c"].verdict == first["b", "c"].verdict == "smaller"
    assert comparison.active == ("a", "b")
    with pytest.raises(UserError, match="these agents need some: a, b"):
        comparison.add(new("abc"))
    comparison.add(new("ab"))
    last = comparison.add(new("ab"))
    assert last["a", "c"] == first["a", "c"]
    assert (last["a", "b"].verdict, last["a", "b"].interim) == ("equal", 3)
    assert comparison.active == ()
    with pytest.raises(UserError, match="every pair is decided"):
        comparison.add({})


def test_decisions_repeat_and_turn_with_the_order_of_the_agents():
    rng = np.random.default_rng(1)
    scores = {"a": rng.normal(size=5), "b": rng.normal(2, 1, 5), "c": rng.normal(4, 1, 5)}
    found = compare_agents(scores, permutations=999).decisions
    assert found == compare_agents(scores, permutations=999).decisions
    back = compare_agents(dict(reversed(scores.items())), permutations=999).decisions
    assert found["a", "c"].verdict == "smaller"
    assert back["c", "a"].verdict == "larger"


def test_sizes_may_differ_between_agents():
    found = only(compare_agents({"a": [1, 2, 3, 4, 5], "b": [10, 11, 12]}))
    assert found.p_value == pytest.approx(1 / 56)


@pytest.mark.parametrize(
    ("agents", "options", "told"),
    [
        (["a"], {}, "1 agents cannot be compared"),
        (["a", "a"], {}, "none twice"),
        ([str(i) for i in range(MAX_AGENTS + 1)], {}, "9 agents"),
        (["a", "b"], {"alpha": 0.0}, "alpha is 0.0"),
        (["a", "b"], {"alpha": 0.9}, "alpha is 0.9"),
        (["a", "b"], {"alpha": math.nan}, "alpha is nan"),
        (["a", "b"], {"max_interims": 0}, "max_interims is 0"),
        (["a", "b"], {"permutations": 0}, "permutations is 0"),
    ],
)
def test_wrong_settings_are_refused(agents, options, told):
    with pytest.raises(UserError, match=told):
        SequentialComparison(agents, **options)


@pytest.mark.parametrize("scores", [[], [math.nan], [math.inf, 1.0], [[1.0, 2.0]]])
def test_wrong_scores_are_refused(scores):
    with pytest.raises(UserError, match="b needs a list"):
        compare_agents({"a": [1.0, 2.0], "b": scores})


def test_scores_that_do_not_fill_the_interims_are_refused():
    with pytest.raises(UserError, match="5 scores"):
        compare_agents({"a": [1.0] * 4, "b": [1.0] * 5}, interims=2)


# ---- the level and the power ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agents", "interims", "repetitions", "permutations"),
    [("ab", 1, 2000, 999), ("abc", 1, 1000, 199), ("ab", 5, 1000, 199), ("abc", 3, 600, 99)],
)
def test_without_a_difference_decisions_are_as_rare_as_promised(
    agents, interims, repetitions, permutations
):
    rng, alpha = np.random.default_rng(0), 0.05
    false = sum(
        wrong(
            compare_agents(
                {name: rng.standard_normal(5 * interims) for name in agents},
                interims=interims,
                permutations=permutations,
                seed=number,
            )
        )
        for number in range(repetitions)
    )
    error = math.sqrt(alpha * (1 - alpha) / repetitions)
    assert false / repetitions <= alpha + 2 * error
    assert false / repetitions >= alpha / 3  # the test is not vacuous


def test_agents_that_are_equal_are_told_apart_rarely_though_a_third_differs():
    rng, alpha, repetitions = np.random.default_rng(0), 0.1, 600
    false = 0
    for number in range(repetitions):
        scores = {name: rng.standard_normal(10) + 3.0 * (name == "c") for name in "abc"}
        found = compare_agents(scores, interims=2, permutations=99, seed=number, alpha=alpha)
        false += found.decisions["a", "b"].verdict != "equal"
    assert false / repetitions <= alpha + 2 * math.sqrt(alpha * (1 - alpha) / repetitions)


def test_a_gap_of_a_standard_deviation_is_found_mostly_and_before_the_last_interim():
    rng, found, looks = np.random.default_rng(0), 0, []
    for number in range(200):
        scores = {"a": rng.normal(0.0, 1.0, 25), "b": rng.normal(1.0, 1.0, 25)}
        comparison = compare_agents(scores, interims=5, permutations=199, seed=number)
        found += only(comparison).verdict == "smaller"
        looks.append(comparison.interim)
    assert found / 200 > 0.8
    assert np.mean(looks) < 4
