"""The oracle: exact where it should be, and as wrong and silent as its profile says."""

from collections import Counter

import numpy as np
import pytest

from embodied.errors import UserError
from rewards.preferences.oracle import PROFILES, OracleSource, read_preference
from rewards.preferences.source import Comparison, Side

NOTHING = np.zeros((0, 1, 1, 3), np.uint8)
GAPS = np.linspace(0, 1, 1001)


def pair(gap, number=0, swapped=False):
    values = (0.0, gap) if swapped else (gap, 0.0)
    sides = [Side(f"{number}-{place}", NOTHING, value) for place, value in enumerate(values)]
    return Comparison("be large", *sides)


def said(source, comparisons):
    return [source.read(answer.raw) for answer in source.answer(comparisons)]


def test_the_exact_one_tells_the_larger_value():
    source = OracleSource(GAPS)
    assert said(source, [pair(0.3), pair(0.3, swapped=True), pair(0.0)]) == [
        "first",
        "second",
        "tie",
    ]


@pytest.mark.parametrize("profile", list(PROFILES))
@pytest.mark.parametrize("place", [0.0, 0.25, 0.5, 1.0])
def test_shares_are_those_of_the_profile(profile, place):
    gap = max(place, 1e-9)
    source = OracleSource(GAPS, profile)
    count = 4000
    answers = Counter(said(source, [pair(gap, n, swapped=n % 2 == 1) for n in range(count)]))
    places, right, wrong = zip(*PROFILES[profile], strict=True)
    share = np.interp(place, places, right)
    error = np.interp(place, places, wrong)
    assert abs(answers["unsure"] / count - (1 - share - error)) < 0.03
    right_found = sum(
        answer == ("second" if n % 2 else "first")
        for n, answer in enumerate(
            said(source, [pair(gap, n, swapped=n % 2 == 1) for n in range(count)])
        )
    )
    assert abs(right_found / count - share) < 0.03


def test_an_answer_depends_on_the_comparison_and_the_seed_alone():
    comparisons = [pair(0.2, number) for number in range(200)]
    one, same, other = (OracleSource(GAPS, "drawer", seed) for seed in (1, 1, 2))
    assert said(one, comparisons) == said(same, comparisons[:100]) + said(same, comparisons[100:])
    assert said(one, comparisons) != said(other, comparisons)
    assert one.request(comparisons[0]) != other.request(comparisons[0])


def test_mistakes_are_told():
    with pytest.raises(UserError, match="unknown noise profile"):
        OracleSource(GAPS, "perfect")
    with pytest.raises(UserError, match="needs pairs"):
        OracleSource([])
    with pytest.raises(UserError, match="known values"):
        OracleSource(GAPS).request(Comparison("x", Side("a", NOTHING), Side("b", NOTHING)))
    for raw in ("", "[]", "{}", '{"preference": "both"}', "[" * 5000):
        with pytest.raises(ValueError, match="no preference"):
            read_preference(raw)
