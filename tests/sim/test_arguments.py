"""Seeds and actions, as every environment checks them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.errors import UserError
from sim.arguments import bounded_actions, seeds_of

LOW, HIGH = np.array([-1.0, 0.0]), np.array([1.0, 0.5])


def test_seeds_count_up_from_one_and_a_sequence_is_taken_as_it_is():
    assert seeds_of(7, 3) == [7, 8, 9]
    assert seeds_of(np.int64(7), 2) == [7, 8]
    assert seeds_of([4, None], 2) == [4, None]
    assert seeds_of(None, 2) == [None, None]


@pytest.mark.parametrize(
    ("seed", "words"), [(-1, "negative"), ([1, -2], "negative"), ([1], "1 seeds for 2")]
)
def test_seeds_that_cannot_be_are_refused(seed, words):
    with pytest.raises(UserError, match=words):
        seeds_of(seed, 2)


@given(st.lists(st.floats(-1e6, 1e6), min_size=6, max_size=6))
def test_actions_never_leave_their_bounds_and_those_inside_stay(values):
    given_actions = np.array(values).reshape(3, 2)
    found = bounded_actions(given_actions, LOW, HIGH, 3)
    assert ((found >= LOW) & (found <= HIGH)).all()
    inside = (given_actions >= LOW) & (given_actions <= HIGH)
    np.testing.assert_array_equal(found[inside], given_actions[inside])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_actions_of_another_shape_or_not_finite_are_refused(bad):
    with pytest.raises(UserError, match="expected \\(3, 2\\)"):
        bounded_actions(np.zeros((2, 2)), LOW, HIGH, 3)
    with pytest.raises(UserError, match="NaN or infinite"):
        bounded_actions(np.full((3, 2), bad), LOW, HIGH, 3)
