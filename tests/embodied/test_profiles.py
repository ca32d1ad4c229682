"""Profiles, probability of improvement and stratified intervals, against rliable's own numbers."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.profiles import (
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    stratified_interval,
)
from embodied.statistics import iqm

STORED = Path(__file__).resolve().parent.parent / "golden" / "rliable.json"
CASES = json.loads(STORED.read_text(encoding="utf-8"))["cases"]
EXACT = {"rtol": 0, "atol": 1e-12}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed{case['seed']}")
def test_point_estimates_are_rliables(case):
    first, second = case["first"], case["second"]
    np.testing.assert_allclose(iqm(first), case["iqm"], **EXACT)
    np.testing.assert_allclose(optimality_gap(first, 1.0), case["optimality_gap"], **EXACT)
    found = probability_of_improvement(first, second)
    np.testing.assert_allclose(found, case["probability_of_improvement"], **EXACT)
    np.testing.assert_allclose(
        performance_profile(first, case["thresholds"]), case["profile"], **EXACT
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed{case['seed']}")
def test_intervals_are_rliables_but_for_the_resampling(case):
    """Percentiles of thousands of resamples; the scores are rounded, so they sit on a lattice."""
    first, second, thresholds = (np.array(case[k]) for k in ("first", "second", "thresholds"))
    for statistic, key in ((iqm, "iqm_interval"), (np.mean, "mean_interval")):
        width = np.ptp(case[key])
        found = stratified_interval(statistic, first, resamples=4000)
        np.testing.assert_allclose(found, case[key], atol=0.1 * width)
    found = stratified_interval(probability_of_improvement, first, second)
    np.testing.assert_allclose(found, case["probability_interval"], atol=0.06)
    found = stratified_interval(lambda scores: performance_profile(scores, thresholds), first)
    np.testing.assert_allclose(found, case["profile_interval"], atol=1.5 / first.size)


def test_runs_are_resampled_within_their_task():
    """Tasks of very different scores: mixing them would widen the interval by a hundred times."""
    scores = np.array([[0.0, 100.0], [1.0, 101.0], [2.0, 102.0]])
    low, high = stratified_interval(np.mean, scores)
    assert 50.0 <= low < high <= 52.0


def test_an_interval_repeats_and_widens_with_its_level():
    scores = np.random.default_rng(0).normal(size=(8, 3))
    assert stratified_interval(iqm, scores) == stratified_interval(iqm, scores)
    narrow, wide = (stratified_interval(iqm, scores, level=level) for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


matrices = st.integers(1, 3).flatmap(
    lambda tasks: st.tuples(
        *[
            st.lists(
                st.lists(st.integers(-3, 3), min_size=tasks, max_size=tasks), min_size=1, max_size=5
            )
        ]
        * 2
    )
)


@given(matrices)
def test_probability_of_improvement_counts_pairs_and_half_of_the_ties(pair):
    first, second = pair
    won = [
        np.mean([(x > y) + 0.5 * (x == y) for x, y in itertools.product(xs, ys)])
        for xs, ys in zip(zip(*first, strict=True), zip(*second, strict=True), strict=True)
    ]
    found = probability_of_improvement(first, second)
    assert found == pytest.approx(np.mean(won))
    assert found + probability_of_improvement(second, first) == pytest.approx(1.0)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=12))
def test_a_profile_falls_from_one_to_zero_and_a_threshold_itself_is_not_above(scores):
    thresholds = np.arange(-6, 7) + 0.0
    found = performance_profile(scores, thresholds)
    expected = [np.mean([score > tau for score in scores]) for tau in thresholds]
    np.testing.assert_allclose(found, expected)
    assert found[0] == 1.0
    assert found[-1] == 0.0
    assert (np.diff(found) <= 0).all()


def test_the_gap_gives_no_credit_beyond_the_target():
    assert optimality_gap([50.0, 150.0], 100.0) == pytest.approx(25.0)
    assert optimality_gap([[120.0], [100.0]], 100.0) == 0.0
