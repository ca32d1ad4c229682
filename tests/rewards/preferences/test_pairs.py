"""Which pairs are asked about."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.errors import UserError
from rewards.preferences.pairs import choose, look_hashes, uniform


@given(st.integers(2, 50), st.integers(0, 200), st.integers(0, 2**32))
def test_sides_differ_and_are_within_range(sides, count, seed):
    pairs = uniform(np.random.default_rng(seed), sides, count)
    assert pairs.shape == (count, 2)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert ((pairs >= 0) & (pairs < sides)).all()


def members(pairs):
    """Two members that disagree the more the larger the first side is."""
    doubt = pairs[:, 0] / 200
    return np.stack([0.5 + doubt, 0.5 - doubt])


def test_disagreement_takes_the_pairs_in_which_members_differ_most():
    rng = np.random.default_rng(0)
    chosen = choose(rng, 100, 50, "disagreement", members)
    assert len(chosen) == 50
    assert chosen[:, 0].min() > 80


def test_entropy_takes_the_pairs_nearest_to_one_half():
    def sure(pairs):
        return np.stack([pairs[:, 0] / 100] * 2)

    chosen = choose(np.random.default_rng(0), 100, 50, "entropy", sure)
    assert np.abs(chosen[:, 0] - 50).max() <= 8


def test_pairs_that_look_the_same_are_left_out():
    hashes = np.array([0] * 90 + list(range(1, 11)), np.uint64)
    chosen = choose(np.random.default_rng(0), 100, 400, hashes=hashes)
    assert 100 < len(chosen) <= 400
    assert (hashes[chosen[:, 0]] != hashes[chosen[:, 1]]).all()


def test_hashes_tell_pictures_apart_and_forgive_rounding():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 250, (5, 96, 96, 3), dtype=np.uint8)
    hashes = look_hashes(pictures)
    assert len(set(hashes.tolist())) == 5
    flat = np.full((2, 96, 96, 3), 128, np.uint8)
    flat[1, ::7] += 1
    assert len(set(look_hashes(flat).tolist())) == 1
    moved = np.full((2, 96, 96, 3), 255, np.uint8)
    moved[0, :, 10:20] = 0
    moved[1, :, 60:70] = 0
    assert len(set(look_hashes(moved).tolist())) == 2


def test_mistakes_are_told():
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="unknown choice"):
        choose(rng, 10, 5, "best")
    with pytest.raises(UserError, match="needs a reward model"):
        choose(rng, 10, 5, "entropy")
