from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from embodied.errors import UserError, at_least
from embodied.types import LazyColumns, Transitions


def test_lazy_columns_are_read_once_and_only_when_asked_for():
    read = []

    def reader(name):
        return lambda: read.append(name) or np.arange(3)

    columns = LazyColumns({name: reader(name) for name in ("a", "b")})
    assert list(columns) == ["a", "b"]
    assert len(columns) == 2
    assert "a" in columns
    assert "c" not in columns
    read.clear()
    assert columns["b"] is columns["b"]
    assert read == ["b"]
    with pytest.raises(KeyError):
        columns["c"]


def test_transitions_are_frozen_and_count_their_actions():
    flags = np.zeros(4, bool)
    batch = Transitions(np.zeros((4, 3)), np.zeros((4, 2)), np.zeros((4, 3)), flags, flags)
    assert len(batch) == 4
    assert batch.reward is None
    assert batch.state == {}
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.reward = np.zeros(4)


def test_a_user_error_is_one_line_whatever_it_is_made_of():
    assert str(UserError("one\n  two\r\n\tthree ")) == "one two three"


def test_at_least_names_the_first_that_is_too_small():
    at_least(1, {"a": 1, "b": None, "c": 7})
    with pytest.raises(UserError, match=r"^b is 0; it must be at least 1$"):
        at_least(1, {"a": 1, "b": 0, "c": -1})
