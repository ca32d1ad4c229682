"""Means and intervals against simple computations that share no code with them."""

import random
import statistics

import numpy as np
import pytest

from embodied.statistics import bootstrap_interval, iqm, summary


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], 3.0),
        ([1.0, 2.0, 9.0], 4.0),  # too few to cut a quarter
        ([100.0, 2.0, 4.0, -50.0], 3.0),
        (list(range(8)), 3.5),
        ([0.0] * 25 + [1.0] * 50 + [1e6] * 25, 1.0),
        ([[1.0, 1e9], [2.0, -1e9]], 1.5),  # any shape
    ],
)
def test_iqm_is_the_mean_of_the_middle_half(values, expected):
    assert iqm(values) == pytest.approx(expected)


def test_iqm_leaves_out_a_quarter_on_either_side():
    values = random.Random(0).choices(range(1000), k=37)
    middle = sorted(values)[37 // 4 : 37 - 37 // 4]
    assert iqm(values) == pytest.approx(statistics.fmean(middle))


def plain_bootstrap(outcomes, resamples):
    """Resample seeds, then episodes within each drawn one, in plain Python."""
    chance = random.Random(7)
    estimates = []
    for _ in range(resamples):
        seeds = chance.choices(outcomes, k=len(outcomes))
        estimates.append(
            statistics.fmean(
                statistics.fmean(chance.choices(list(item), k=len(item))) for item in seeds
            )
        )
    cuts = statistics.quantiles(estimates, n=40)
    return cuts[0], cuts[-1]


@pytest.mark.parametrize(
    "sizes", [(30,), (20, 20, 20), (10, 40, 25)], ids=["one seed", "three seeds", "uneven"]
)
@pytest.mark.parametrize("spread", [0.0, 1.0], ids=["alike", "apart"])
def test_the_interval_is_that_of_a_plain_bootstrap(sizes, spread):
    rng = np.random.default_rng(1)
    outcomes = [rng.normal(spread * i, 1.0, size) for i, size in enumerate(sizes)]
    expected = plain_bootstrap(outcomes, 4000)
    found = bootstrap_interval(outcomes, resamples=20_000)
    width = expected[1] - expected[0]
    np.testing.assert_allclose(found, expected, atol=0.05 * width)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Ten seeds of fifteen episodes, seed effects and episodes both normal around 2."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        centres = rng.normal(2.0, 0.5, 10)
        low, high = bootstrap_interval([rng.normal(c, 1.0, 15) for c in centres], resamples=400)
        covered.append(low <= 2.0 <= high)
    assert 0.88 <= np.mean(covered) <= 0.99


def test_a_higher_level_gives_a_wider_interval():
    outcomes = [np.arange(20.0), np.arange(10.0, 30.0)]
    narrow, wide = (bootstrap_interval(outcomes, level=level) for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_equal_outcomes_have_an_interval_without_width():
    assert bootstrap_interval([np.ones(5)] * 3) == (1.0, 1.0)


def test_the_interval_repeats_and_depends_on_its_seed():
    outcomes = [np.random.default_rng(0).normal(size=size) for size in (12, 5)]
    assert bootstrap_interval(outcomes) == bootstrap_interval(outcomes)
    assert bootstrap_interval(outcomes) != bootstrap_interval(outcomes, seed=1)


def test_the_summary_weighs_every_seed_alike():
    found = summary([np.array([0.0, 0.0, 0.0, 0.0]), np.array([1.0])], with_iqm=True)
    assert found["mean"] == 0.5
    assert found["per_seed"] == [0.0, 1.0]
    assert found["iqm"] == pytest.approx(0.0)  # of the five episodes' middle
    assert found["ci95"] == pytest.approx([0.0, 1.0])
    assert "iqm" not in summary([np.ones(3)])
